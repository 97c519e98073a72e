import { setTimeout as pause } from 'node:timers/promises'
import type { Deps } from '../deps.ts'
import { keys } from '../redis/keys.ts'
import { madeAtOf, maxClockDifferenceMs } from '../redis/pending.ts'
import type { Sale } from '../redis/sales-scripts.ts'
import { findMissingDates, findSnapshot, insertSnapshot, readSales } from './popular.sql.ts'
import { addDays, midnightOf, places, rank, seoulDate, windowUpTo } from './popular.ts'

/** How long the job waits for orders from before midnight to be settled, and for Redis to pass midnight, ms. */
const settleWaitMs = 30_000
const betweenLooksMs = 50
/** Midnights that a run looks back to, and so the most that it catches up. */
const maxCaughtUp = 400
/** Redis keeps the sales of this many days before today. */
const daysInRedis = 7

/**
 * Makes the midnight job (PRD-7). A snapshot is made from Postgres; where Redis tells otherwise, the log says so. It is
 * written once a date, whoever runs the job and however often.
 */
export function createSnapshots(
  deps: Deps & {
    shards: number[]
    topOfShard(shard: number, dates: string[]): Promise<Sale[]>
  },
) {
  const { db, patientDb, scripts, now, log, shards, topOfShard } = deps

  /** Takes the snapshot of a date, unless there is one. Gives whether it took it. */
  async function take(date: string, signal?: AbortSignal): Promise<boolean> {
    if ((await findSnapshot(db, date)) !== undefined) return false
    const midnight = midnightOf(date)
    await untilSettled(midnight, signal)
    const dates = windowUpTo(addDays(date, -1))
    const from = midnightOf(dates[0] as string)
    const ranking = rank(await patientDb.transaction((tx) => readSales(tx, from, midnight)))
    await compareWithRedis(date, dates, ranking)
    const isNew = await insertSnapshot(db, date, ranking, new Date(now()))
    if (isNew) log.info({ date, products: ranking.length }, 'popular products snapshot taken')
    return isNew
  }

  /**
   * An order from before midnight may be committed after it: waits until none is pending. Orders are dated by the clock
   * of their process, and their entries by that of Redis: what was reserved before midnight by the one may be dated a
   * little later by the other, and none comes any more once Redis has passed that.
   */
  async function untilSettled(midnight: number, signal: AbortSignal | undefined): Promise<void> {
    const until = midnight + maxClockDifferenceMs
    const giveUpAt = performance.now() + settleWaitMs
    for (;;) {
      const looks = await Promise.all(
        shards.map((shard) => scripts.lookAtPending(keys.stockPending(shard), 0, 1)),
      )
      const isSettled = looks.every(
        ({ nowMs, entries }) => nowMs >= until && entries.every(([, entry]) => madeAtOf(entry) >= until),
      )
      if (isSettled) return
      if (performance.now() > giveUpAt) {
        log.warn({ midnight: new Date(midnight) }, 'orders from before midnight may still be pending')
        return
      }
      await pause(betweenLooksMs, undefined, { ...(signal ? { signal } : {}) })
    }
  }

  async function compareWithRedis(date: string, dates: string[], ranking: Sale[]): Promise<void> {
    if ((dates[0] as string) < addDays(seoulDate(now()), -daysInRedis)) return
    try {
      const counted = rank((await Promise.all(shards.map((shard) => topOfShard(shard, dates)))).flat())
      if (JSON.stringify(counted.slice(0, places)) === JSON.stringify(ranking)) return
      log.warn({ date, redis: counted, postgres: ranking }, 'the ranking differs in Redis; Postgres is right')
    } catch (error) {
      log.warn({ err: error, date }, 'the ranking could not be compared with Redis')
    }
  }

  /**
   * Takes the snapshot of today's midnight and of those missed since the first order, oldest first, also where later
   * ones were taken. Gives the dates taken. `signal` breaks off the waiting, by an AbortError.
   */
  async function catchUp(signal?: AbortSignal): Promise<string[]> {
    const taken: string[] = []
    for (const date of await findMissingDates(db, seoulDate(now()), maxCaughtUp)) {
      if (await take(date, signal)) taken.push(date)
    }
    return taken
  }

  return { take, catchUp }
}
