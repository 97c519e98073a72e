import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import { Unavailable } from '../errors.ts'
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
 * knows them: see `availableUnits`. A settlement or flush between the look at Redis and the write makes a product
 * start over (see lua/stock.load.lua).
 */
export function createStockLoader(deps: {
  redis: Redis
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
      const token = newId()
      // Written before anything is looked at, so that a settlement or a flush from here on is noticed.
      await redis.hset(
        keys.stockLoading(shard),
        Object.fromEntries(todo.map((productId) => [productId, token])),
      )
      const { units, entries } = await scripts.inspectStock(shard, todo)
      todo = todo.filter((productId, index) => {
        if (units[index] === null) return true
        existing.add(productId)
        return false
      })
      if (todo.length === 0) return existing
      const snapshot = await readStockSnapshot(db, todo, entries)
      const found = todo.flatMap((productId) => {
        const stock = snapshot.stock.get(productId)
        return stock === undefined
          ? []
          : [{ productId, units: availableUnits(productId, stock, entries, snapshot) }]
      })
      if (found.length === 0) return existing
      const late = await scripts.loadStock(shard, token, found)
      for (const { productId } of found) if (!late.includes(productId)) existing.add(productId)
      log.debug({ shard, loaded: found.length - late.length, late: late.length }, 'products loaded')
      todo = late
      if (todo.length === 0) return existing
      await pause(betweenAttemptsMs)
    }
    throw new Unavailable('products could not be loaded')
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
 */
export function availableUnits(
  productId: number,
  stock: number,
  entries: StockEntry[],
  snapshot: Pick<StockSnapshot, 'effective'>,
): number {
  let units = stock
  for (const entry of entries) {
    const isDueLater = (entry.kind === 'reserve') !== snapshot.effective.has(entry.entryId)
    if (!isDueLater) continue
    for (const line of entry.lines) if (line.productId === productId) units -= line.quantity
  }
  // A Redis restored from an old copy can hold more reservations than there are units; Postgres refuses those.
  return Math.max(0, units)
}
