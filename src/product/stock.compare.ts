import type { Database } from '../db/client.ts'
import type { Scripts } from '../redis/scripts.ts'
import type { StockEntry } from '../redis/stock-scripts.ts'
import { readStockSnapshot } from './product.sql.ts'
import { availableUnits } from './stock.load.ts'

/** Units of a product that differ; `seen` is what Redis held of it, so that a change since can be told. */
export interface StockDifference {
  redis: number
  postgres: number
  seen: string
}

/** What one look at products of a shard tells. Those in none of the lists agree. */
export interface StockLook {
  /** not loaded */
  missing: number[]
  /** reserved, settled or loaded during the look: they cannot be compared */
  moving: number[]
  differing: Map<number, StockDifference>
}

/** Makes the comparison of the units in Redis with Postgres. What is pending is no difference. */
export function createStockComparison(deps: { scripts: Scripts; db: Database }) {
  const { scripts, db } = deps

  /** Looks once at products of one shard. */
  async function compare(shard: number, productIds: number[]): Promise<StockLook> {
    const before = await scripts.inspectStock(shard, productIds)
    const snapshot = await readStockSnapshot(db, productIds, before.entries)
    const after = await scripts.inspectStock(shard, productIds)
    const look: StockLook = { missing: [], moving: [], differing: new Map() }
    productIds.forEach((id, index) => {
      const redis = before.units[index] ?? null
      const seen = fingerprint(id, redis, before.entries)
      if (redis === null) look.missing.push(id)
      else if (seen !== fingerprint(id, after.units[index], after.entries)) look.moving.push(id)
      else {
        const postgres = availableUnits(id, snapshot.stock.get(id) ?? 0, before.entries, snapshot)
        if (postgres !== redis) look.differing.set(id, { redis, postgres, seen })
      }
    })
    return look
  }

  /**
   * Under traffic the two stores cannot be read at one instant: only what differs twice, with Redis unchanged in
   * between, has drifted.
   */
  async function confirm(shard: number, differing: StockLook['differing']): Promise<StockLook['differing']> {
    if (differing.size === 0) return differing
    const again = await compare(shard, [...differing.keys()])
    return new Map([...again.differing].filter(([id, { seen }]) => differing.get(id)?.seen === seen))
  }

  return { compare, confirm }
}

function fingerprint(productId: number, units: number | null | undefined, entries: StockEntry[]): string {
  const own = entries.filter(({ lines }) => lines.some((line) => line.productId === productId))
  return `${units} ${own.map(({ id }) => id).join()}`
}
