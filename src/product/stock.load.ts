import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import { Unavailable } from '../errors.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import type { StockEntry } from '../redis/stock-scripts.ts'
import { readStockSnapshot, type StockSnapshot } from './product.sql.ts'
import { byShard } from './product.ts'

/** An entry settled on the way makes a product start over; entries run out soon, as none is added while it loads. */
const maxAttempts = 200
const betweenAttemptsMs = 5

export interface StockLoader {
  /**
   * Makes products available in Redis. Calls for the same product share one run. Gives those that do not exist.
   * @throws Unavailable when it cannot be done now
   */
  load(productIds: number[]): Promise<number[]>
}

/**
 * Makes the loader. What is available is the stock in Postgres, corrected by the pending entries as that same snapshot
 * knows them: see `availableUnits`. An announcement, settlement or flush between the look at Redis and the write takes
 * the token away, and the product starts over (see lua/stock.load.lua). Loaders of several processes share the token:
 * with one each they would take it from each other for as long as they are at it.
 */
export function createStockLoader(deps: {
  redis: RedisClient
  scripts: Scripts
  db: Database
  newId(): string
  shards: number
  log: Logger
}): StockLoader {
  const { redis, scripts, db, newId, shards, log } = deps
  /** resolves with whether the product exists */
  const underWay = new Map<number, Promise<boolean>>()

  async function loadShard(shard: number, productIds: number[]): Promise<Set<number>> {
    const existing = new Set<number>()
    let todo = productIds
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      // Taken before anything is looked at, so that whatever happens from here on is noticed.
      const tokens = await takeTokens(shard, todo)
      const { units, entries } = await scripts.inspectStock(shard, todo)
      const absent = todo.filter((_, index) => units[index] === null)
      const snapshot = await readStockSnapshot(db, absent, entries)
      const found = absent.flatMap((productId) => {
        const stock = snapshot.stock.get(productId)
        if (stock === undefined) return []
        const token = tokens.get(productId) ?? ''
        return [{ productId, token, units: availableUnits(productId, stock, entries, snapshot) }]
      })
      // Nothing is left to do for those that are loaded by now and those that do not exist: no token stays for them.
      const idle = todo.filter((id) => !found.some(({ productId }) => productId === id))
      if (idle.length > 0) await redis.hdel(keys.stockLoading(shard), ...idle.map(String))
      for (const productId of todo) if (!absent.includes(productId)) existing.add(productId)
      for (const { productId } of found) existing.add(productId)

      todo = found.length === 0 ? [] : await scripts.loadStock(shard, found)
      log.debug({ shard, loaded: found.length - todo.length, late: todo.length }, 'products loaded')
      if (todo.length === 0) return existing
      await pause(betweenAttemptsMs)
    }
    throw new Unavailable('products could not be loaded')
  }

  /** The token of each product: the first of its loaders has written it. */
  async function takeTokens(shard: number, productIds: number[]): Promise<Map<number, string | null>> {
    const key = keys.stockLoading(shard)
    const token = newId()
    await Promise.all(productIds.map((productId) => redis.hsetnx(key, String(productId), token)))
    const tokens = await redis.hmget(key, ...productIds.map(String))
    return new Map(productIds.map((productId, index) => [productId, tokens[index] ?? null]))
  }

  return {
    async load(productIds) {
      const fresh = productIds.filter((productId) => !underWay.has(productId))
      for (const [shard, ids] of byShard(fresh, (productId) => productId, shards)) {
        const run = loadShard(shard, ids)
        for (const productId of ids) {
          const exists = run.then((existing) => existing.has(productId))
          underWay.set(productId, exists)
          exists.finally(() => underWay.delete(productId)).catch(() => undefined)
        }
      }
      const exist = await Promise.all(productIds.map((productId) => underWay.get(productId)))
      return productIds.filter((_, index) => !exist[index])
    },
  }
}

/**
 * What can still be reserved of a product, from its stock in a snapshot of Postgres. A reservation that is not in the
 * snapshot is still to be taken off; what a cancellation or restock brought is in the snapshot, and will reach Redis
 * when its entry is settled, so it is not counted yet.
 *
 * Below zero where a Redis that was flushed or restored from an old copy holds more reservations than there are units.
 * Postgres refuses those, and what they give back then makes no unit that can be sold.
 */
export function availableUnits(
  productId: number,
  stock: number,
  entries: StockEntry[],
  snapshot: Pick<StockSnapshot, 'effective'>,
): number {
  let units = stock
  for (const entry of entries) {
    const isDueLater = (entry.kind === 'reserve') !== snapshot.effective.has(entry.id)
    if (!isDueLater) continue
    for (const line of entry.lines) if (line.productId === productId) units -= line.quantity
  }
  return units
}
