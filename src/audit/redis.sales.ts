import { setTimeout as pause } from 'node:timers/promises'
import type { Database } from '../db/client.ts'
import { readOrderStates, readSales } from '../popular/popular.sql.ts'
import { addDays, compact, midnightOf, seoulDate } from '../popular/popular.ts'
import { isEffective } from '../product/product.sql.ts'
import { seoulDay, shardOf } from '../product/product.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import { type StockEntry, stockEntriesOf } from '../redis/stock-scripts.ts'
import { betweenLooksMs, type Change, maxLooks, type RedisRule, verdictOf } from './verdict.ts'

/** Redis keeps the sales of this many days, today included, for as long as they may be asked for. */
const daysInRedis = 7
/** Tries to have days counted: another process may be at it, for other days. */
const maxCounts = 20
const rule = {
  rule: 'redis-sales',
  about: 'the sales of the last days in Redis are the live orders paid then, less what is pending (PRD-6)',
}

/** The sales of a day and shard as Redis holds them, or undefined where they are not complete. */
type DaySales = Map<number, number> | undefined
interface ShardLook {
  entries: StockEntry[]
  days: Map<string, DaySales>
}
interface Difference {
  shard: number
  date: string
  productId: number
  redis: number
  postgres: number
  /** what Redis held of it */
  seen: string
}
interface SalesLook {
  looked: number
  moving: number
  differing: Map<string, Difference>
}

/** The sales that the ranking is made of. Days that drifted are counted anew from Postgres. */
export function salesInRedis(deps: {
  redis: RedisClient
  patientDb: Database
  recount(shard: number, dates: string[]): Promise<void>
  shards: number
  now(): number
}): RedisRule {
  const { redis, patientDb, recount, shards, now } = deps
  const allShards = Array.from({ length: shards }, (_, shard) => shard)

  return async () => {
    const today = seoulDate(now())
    const dates = Array.from({ length: daysInRedis }, (_, index) => addDays(today, index - daysInRedis + 1))
    let look = await compare(dates)
    let certain = new Map<string, Difference>()
    // Under traffic only what differs twice, with Redis unchanged in between, has drifted.
    for (let looks = 1; looks < maxLooks && look.differing.size + look.moving > 0; looks++) {
      await pause(betweenLooksMs)
      const again = await compare(dates)
      const before = look.differing
      certain = new Map([...again.differing].filter(([id, { seen }]) => before.get(id)?.seen === seen))
      look = again
      if (look.moving === 0 && certain.size === look.differing.size) break
    }
    const skipped = look.moving + look.differing.size - certain.size
    const drifted = [...certain.values()]
    const violations = drifted.map(({ date, productId, redis, postgres }) => ({
      date,
      productId,
      redis,
      postgres,
    }))
    return {
      verdict: verdictOf(rule, { looked: look.looked, skipped, violations }),
      repair: () => countAnew(drifted),
    }
  }

  /** What one shard holds at one instant. */
  async function readShard(shard: number, dates: string[]): Promise<ShardLook> {
    const batch = redis.multi().hgetall(keys.stockPending(shard)).hkeys(keys.stockCounted(shard))
    for (const date of dates) batch.zrange(keys.stockSales(shard, compact(date)), '0', '-1', 'WITHSCORES')
    const replies = (await batch.exec()) ?? []
    for (const [error] of replies) if (error) throw error
    const [pending, counted, ...sales] = replies.map(([, reply]) => reply)
    return {
      entries: stockEntriesOf(Object.entries(pending as Record<string, string>).flat()),
      days: new Map(
        dates.map((date, index) => {
          if (!(counted as string[]).includes(compact(date))) return [date, undefined]
          const flat = sales[index] as string[]
          const pairs = flat.flatMap((text, at) =>
            at % 2 === 0 ? [[Number(text), Number(flat[at + 1])]] : [],
          )
          return [date, new Map(pairs as [number, number][])]
        }),
      ),
    }
  }

  function readAll(dates: string[]): Promise<ShardLook[]> {
    return Promise.all(allShards.map((shard) => readShard(shard, dates)))
  }

  async function compare(dates: string[]): Promise<SalesLook> {
    const before = await readAll(dates)
    const { sales, orders } = await readPostgres(
      dates.filter((date) => before.some(({ days }) => days.get(date) !== undefined)),
      before.flatMap(({ entries }) => entries.map(({ orderId }) => orderId).filter((id) => id !== '')),
    )
    const after = await readAll(dates)
    const look: SalesLook = { looked: 0, moving: 0, differing: new Map() }
    for (const shard of allShards) {
      const [was, is] = [before[shard] as ShardLook, after[shard] as ShardLook]
      for (const [date, held] of was.days) {
        if (!held) continue
        const expected = new Map(sales.get(date)?.filter(([id]) => shardOf(id, shards) === shard))
        for (const entry of was.entries) {
          const order = orders.get(entry.orderId)
          // Postgres has it, Redis will count it when it is settled.
          if (!order || entry.kind === 'restock' || seoulDay(order.createdAt) !== compact(date)) continue
          if (!isEffective(entry, { orders, restocks: new Set() })) continue
          const sign = entry.kind === 'reserve' ? -1 : 1
          for (const { productId, quantity } of entry.lines) {
            expected.set(productId, (expected.get(productId) ?? 0) + sign * quantity)
          }
        }
        for (const productId of new Set([...held.keys(), ...expected.keys()])) {
          look.looked++
          const seen = fingerprint(was, date, productId)
          const [redis, postgres] = [held.get(productId) ?? 0, expected.get(productId) ?? 0]
          if (redis === postgres) continue
          if (seen !== fingerprint(is, date, productId)) look.moving++
          else look.differing.set(`${date} ${productId}`, { shard, date, productId, redis, postgres, seen })
        }
      }
    }
    return look
  }

  async function readPostgres(dates: string[], orderIds: string[]) {
    return patientDb.transaction(
      async (tx) => {
        const sales = new Map<string, [number, number][]>()
        for (const date of dates) {
          const sold = await readSales(tx, midnightOf(date), midnightOf(addDays(date, 1)))
          sales.set(
            date,
            sold.map(({ productId, quantity }) => [productId, quantity]),
          )
        }
        const states = await readOrderStates(tx, [...new Set(orderIds)])
        return { sales, orders: new Map(states.map((row) => [row.id, row])) }
      },
      { isolationLevel: 'repeatable read', accessMode: 'read only' },
    )
  }

  async function countAnew(drifted: Difference[]): Promise<Change[]> {
    for (const [shard, part] of Map.groupBy(drifted, (difference) => difference.shard)) {
      const dates = [...new Set(part.map(({ date }) => date))]
      await redis.hdel(keys.stockCounted(shard), ...dates.map(compact))
      for (let counts = 0; counts < maxCounts; counts++) {
        await recount(shard, dates)
        const counted = await redis.hmget(keys.stockCounted(shard), ...dates.map(compact))
        if (!counted.includes(null)) break
      }
    }
    return Promise.all(
      drifted.map(async ({ shard, date, productId, redis: from }) => {
        const key = keys.stockSales(shard, compact(date))
        const score = await redis.zscore(key, String(productId))
        return { what: 'sales of a day', key: `${key} ${productId}`, from, to: Number(score ?? 0) }
      }),
    )
  }
}

function fingerprint(look: ShardLook, date: string, productId: number): string {
  const own = look.entries.filter(({ lines }) => lines.some((line) => line.productId === productId))
  return `${look.days.get(date)?.get(productId)} ${own.map(({ id }) => id).join()}`
}
