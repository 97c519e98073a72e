import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type Refusal, refuse, Unavailable } from '../errors.ts'
import type { RedisClient } from '../redis/client.ts'
import { gather } from '../redis/gather.ts'
import { keys } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import { type Line, type StockEntry, type StockSettlement, unitsOf } from '../redis/stock-scripts.ts'
import { byShard, shardOf } from './product.ts'
import type { StockLoader } from './stock.load.ts'

/** How long a call waits for products to be loaded, ms. */
const patienceMs = 3000
const betweenLooksMs = 5
/** Products that those who ask in the same turn of the event loop are told of by one command. */
const productsPerRead = 500

/** An entry in pending, with the shard that it lies in. */
export interface PlacedEntry {
  shard: number
  id: string
  lines: Line[]
}

/** A settlement with the shard that it belongs to. */
export interface PlacedSettlement extends StockSettlement {
  shard: number
}

export type Stock = ReturnType<typeof createStock>

/** The stock in Redis, over all shards. */
export function createStock(deps: {
  redis: RedisClient
  scripts: Scripts
  loader: StockLoader
  shards: number
  now(): number
  log: Logger
}) {
  const { redis, scripts, loader, shards, now, log } = deps
  const read = gather<number, number, number | null>(productsPerRead, async (shard, productIds) => {
    const units = await redis.hmget(keys.stockAvailable(shard), ...productIds.map(String))
    return units.map((text) => (text === null ? null : unitsOf(text)))
  })

  /**
   * Reserves the lines of an order, all or none (ORD-2): shard by shard in ascending order, giving back on a refusal.
   * @throws Unavailable when Redis is away or products cannot be loaded in time; what was reserved is then given back
   * by recovery, and the order is never committed
   */
  async function reserve(
    orderId: string,
    lines: Line[],
  ): Promise<PlacedEntry[] | Refusal<'PRODUCT_NOT_FOUND' | 'STOCK_INSUFFICIENT'>> {
    const giveUpAt = now() + patienceMs
    const reserved: PlacedEntry[] = []
    for (const [shard, part] of byShard(lines, (line) => line.productId, shards)) {
      const outcome = await reserveInShard(shard, orderId, part, giveUpAt)
      if ('refused' in outcome) {
        await settle(reserved.map((entry) => ({ ...entry, committed: false, units: 'give', sold: null })))
        return outcome
      }
      reserved.push(outcome)
    }
    return reserved
  }

  async function reserveInShard(
    shard: number,
    orderId: string,
    lines: Line[],
    giveUpAt: number,
  ): Promise<PlacedEntry | Refusal<'PRODUCT_NOT_FOUND' | 'STOCK_INSUFFICIENT'>> {
    do {
      const outcome = await scripts.reserveStock(shard, orderId, lines)
      if (outcome.outcome === 'RESERVED') return { shard, id: orderId, lines }
      if (outcome.outcome === 'INSUFFICIENT') {
        return refuse('STOCK_INSUFFICIENT', undefined, {
          productId: outcome.productId,
          available: outcome.available,
        })
      }
      const [unknown] = await loader.load(outcome.productIds)
      if (unknown !== undefined) return refuse('PRODUCT_NOT_FOUND', undefined, { productId: unknown })
    } while (now() < giveUpAt)
    throw new Unavailable('products are being loaded')
  }

  /** Leaves entries for units that a cancellation or restock is about to bring, one a shard. */
  async function announce(entry: StockEntry & { kind: 'cancel' | 'restock' }): Promise<PlacedEntry[]> {
    return Promise.all(
      byShard(entry.lines, (line) => line.productId, shards).map(async ([shard, lines]) => {
        await scripts.announceStock(shard, { ...entry, lines })
        return { shard, id: entry.id, lines }
      }),
    )
  }

  /** Settles entries, one script call a shard. */
  async function settle(settlements: PlacedSettlement[]): Promise<void> {
    const groups = Map.groupBy(settlements, ({ shard }) => shard)
    await Promise.all([...groups].map(([shard, part]) => scripts.settleStock(shard, part)))
  }

  /** What can still be reserved of each product (PRD-2). All must exist. @throws Unavailable */
  async function available(productIds: number[]): Promise<Map<number, number>> {
    const found = new Map<number, number>()
    const giveUpAt = now() + patienceMs
    let todo = productIds
    while (todo.length > 0) {
      const units = await Promise.all(todo.map((productId) => read(shardOf(productId, shards), productId)))
      todo.forEach((productId, index) => {
        const known = units[index]
        if (known !== null && known !== undefined) found.set(productId, known)
      })
      todo = todo.filter((productId) => !found.has(productId))
      if (todo.length === 0) break
      if (now() >= giveUpAt) throw new Unavailable('products are being loaded')
      const unknown = await loader.load(todo)
      if (unknown.length > 0) {
        log.warn({ productIds: unknown }, 'products that do not exist were asked for')
        throw new Unavailable('a product is not there')
      }
      await pause(betweenLooksMs)
    }
    return found
  }

  /** The same of one product, as Redis has it: null where it is not loaded. @throws what Redis says */
  const look = (productId: number): Promise<number | null> => read(shardOf(productId, shards), productId)

  return { reserve, announce, settle, available, look }
}
