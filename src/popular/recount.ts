import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import { isEffective } from '../product/product.sql.ts'
import { shardOf } from '../product/product.ts'
import { keys } from '../redis/keys.ts'
import type { Locks } from '../redis/lock.ts'
import type { Sale, SalesLook } from '../redis/sales-scripts.ts'
import type { Scripts } from '../redis/scripts.ts'
import type { StockEntry } from '../redis/stock-scripts.ts'
import { readOrderStates, readSales } from './popular.sql.ts'
import { addDays, compact, dashed, midnightOf, seoulDate } from './popular.ts'

const countTtlMs = 60_000
/** A process that dies leaves its lock for this long: less than callers wait, so that they go on counting. */
const lockTtlMs = 2000
const betweenLooksMs = 50

/**
 * Makes the function that counts the sales of days anew from Postgres, when Redis has lost them. It is exact while
 * orders go on: from `begin` on, settling logs what it counts. One snapshot of Postgres then tells the sales, and which
 * of the logged and pending entries it includes:
 *
 *     sales = in the snapshot + logged but not in the snapshot − in the snapshot but still pending
 *
 * What is settled after the look is added by the script that puts the sales in place.
 */
export function createRecount(deps: {
  scripts: Scripts
  patientDb: Database
  locks: Locks
  newId(): string
  shards: number
  log: Logger
}) {
  const { scripts, patientDb, locks, newId, shards, log } = deps

  const underWay = new Map<number, Promise<void>>()

  /**
   * Counts days (yyyy-mm-dd) of one shard. Where it is being done already, it waits for that or a moment; and Redis may
   * lose the count on the way. Either way these days may then not be counted: the caller looks again.
   */
  return function recount(shard: number, dates: string[]): Promise<void> {
    const running = underWay.get(shard)
    if (running) return running
    const run = countLocked(shard, dates).finally(() => underWay.delete(shard))
    underWay.set(shard, run)
    return run
  }

  async function countLocked(shard: number, dates: string[]): Promise<void> {
    const isMine = await locks.tryWith(keys.jobLock(`recount-${shard}`), lockTtlMs, async () => {
      const token = newId()
      await scripts.beginSales(shard, token, countTtlMs)
      await patientDb.transaction(
        async (tx) => {
          const inSnapshot = new Map<string, Map<number, number>>()
          for (const date of dates) {
            const sales = await readSales(tx, midnightOf(date), midnightOf(addDays(date, 1)))
            const own = sales.filter(({ productId }) => shardOf(productId, shards) === shard)
            inSnapshot.set(date, new Map(own.map(({ productId, quantity }) => [productId, quantity])))
          }
          const look = await scripts.lookAtSales(shard, token)
          if (!look) return
          const corrections = await correct(tx, look)
          for (const [index, date] of dates.entries()) {
            const sales = sumUp(inSnapshot.get(date) ?? new Map(), corrections.get(date) ?? [])
            const done = await scripts.finishSales(shard, token, {
              day: compact(date),
              looked: look.counted.length,
              isLast: index === dates.length - 1,
              sales,
            })
            if (!done) return
            log.info({ shard, date, products: sales.length }, 'sales counted from Postgres')
          }
        },
        { isolationLevel: 'repeatable read', accessMode: 'read only' },
      )
    })
    if (!isMine) await pause(betweenLooksMs)
  }

  /** What to add to the snapshot's sales, by date, given what it includes. */
  async function correct(tx: Pick<Database, 'select'>, look: SalesLook): Promise<Map<string, Sale[]>> {
    const corrections = new Map<string, Sale[]>()
    const add = (date: string, sale: Sale) => {
      const list = corrections.get(date) ?? []
      list.push(sale)
      corrections.set(date, list)
    }
    const pending = look.entries.filter(({ kind }) => kind !== 'restock')
    const orderIds = new Set([...pending, ...look.counted].map(({ orderId }) => orderId))
    const states = new Map((await readOrderStates(tx, [...orderIds])).map((row) => [row.id, row]))
    const isInSnapshot = (entry: Pick<StockEntry, 'kind' | 'id' | 'orderId'>) =>
      isEffective(entry, { orders: states, restocks: new Set() })

    for (const entry of look.counted) {
      if (isInSnapshot(entry)) continue
      // Its quantities have the sign of the effect already.
      for (const line of entry.lines) add(dashed(entry.day), line)
    }
    for (const entry of pending) {
      const order = states.get(entry.orderId)
      if (!order || !isInSnapshot(entry)) continue
      const date = seoulDate(order.createdAt.getTime())
      const sign = entry.kind === 'reserve' ? -1 : 1
      for (const { productId, quantity } of entry.lines) add(date, { productId, quantity: sign * quantity })
    }
    return corrections
  }
}

/** Below zero is where a cancellation was settled before its order: the sale of that one is still to come. */
function sumUp(base: Map<number, number>, corrections: Sale[]): Sale[] {
  const sums = new Map(base)
  for (const { productId, quantity } of corrections) {
    sums.set(productId, (sums.get(productId) ?? 0) + quantity)
  }
  return [...sums].flatMap(([productId, quantity]) => (quantity !== 0 ? [{ productId, quantity }] : []))
}
