import { setTimeout as pause } from 'node:timers/promises'
import type { Database } from '../db/client.ts'
import { listStock } from '../product/product.sql.ts'
import { byShard, shardOf } from '../product/product.ts'
import { createStockComparison, type StockLook } from '../product/stock.compare.ts'
import type { StockLoader } from '../product/stock.load.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import { betweenLooksMs, type Change, maxLooks, type RedisRule, verdictOf } from './verdict.ts'

const productsPerPage = 1000
const rule = {
  rule: 'redis-stock',
  about: 'the units of each loaded product in Redis are the stock in Postgres less what is pending (PRD-2)',
}

/** Units in Redis. A product that drifted is dropped and loaded again. */
export function stockInRedis(deps: {
  redis: RedisClient
  scripts: Scripts
  db: Database
  stockLoader: StockLoader
  shards: number
}): RedisRule {
  const { redis, db, stockLoader, shards } = deps
  const { compare, confirm } = createStockComparison(deps)

  return async () => {
    const drifted: StockLook['differing'] = new Map()
    let looked = 0
    let skipped = 0
    for (let page = await listStock(db, 0, productsPerPage); page.length > 0; ) {
      for (const [shard, part] of byShard(page, ({ id }) => id, shards)) {
        const look = await lookAt(
          shard,
          part.map(({ id }) => id),
        )
        looked += part.length - look.missing
        skipped += look.moving
        for (const [id, difference] of look.certain) drifted.set(id, difference)
      }
      page = await listStock(db, page.at(-1)?.id ?? 0, productsPerPage)
    }
    const violations = [...drifted].map(([productId, { redis, postgres }]) => ({
      productId,
      redis,
      postgres,
    }))
    return { verdict: verdictOf(rule, { looked, skipped, violations }), repair: () => reload(drifted) }
  }

  async function lookAt(shard: number, productIds: number[]) {
    const certain: StockLook['differing'] = new Map()
    let missing = 0
    let todo = productIds
    for (let looks = 0; looks < maxLooks && todo.length > 0; looks++) {
      const { missing: absent, moving, differing } = await compare(shard, todo)
      missing += absent.length
      // What is on its way between the stores arrives meanwhile.
      if (moving.length + differing.size > 0) await pause(betweenLooksMs)
      const confirmed = await confirm(shard, differing)
      for (const [id, difference] of confirmed) certain.set(id, difference)
      todo = [...moving, ...[...differing.keys()].filter((id) => !confirmed.has(id))]
    }
    return { certain, missing, moving: todo.length }
  }

  async function reload(drifted: StockLook['differing']): Promise<Change[]> {
    const changes: Change[] = []
    for (const [productId, difference] of drifted) {
      const key = keys.stockAvailable(shardOf(productId, shards))
      await redis.hdel(key, String(productId))
      await stockLoader.load([productId])
      changes.push({
        what: 'stock of a product',
        key: `${key} ${productId}`,
        from: difference.redis,
        to: await redis.hget(key, String(productId)).then((units) => (units === null ? null : Number(units))),
      })
    }
    return changes
  }
}
