import { setTimeout as pause } from 'node:timers/promises'
import { eq } from 'drizzle-orm'
import { redisRuns } from './db/schema/index.ts'
import type { Deps } from './deps.ts'
import type { Recovery } from './domains.ts'
import { keys } from './redis/keys.ts'
import { readRunIds } from './redis/run.ts'

/** A process that dies leaves the lock for this long; then another recovers what it left. */
const lockTtlMs = 3000
/** Every so many runs Redis is held against Postgres as a whole. */
const runsPerReconciliation = 5

/**
 * Has Redis loaded again if it is not the run that Postgres last saw: a restarted Redis may have come up with an older
 * copy of its data (ALL-4). Called at start, before anything is served, and by the worker.
 */
export async function noticeRedisRestart(
  deps: Pick<Deps, 'env' | 'redis' | 'db' | 'now' | 'log'>,
  recoveries: Recovery[],
): Promise<void> {
  // Products lie elsewhere with another number of shards, which comes to the same.
  const runIds = `${await readRunIds(deps.redis)}/${deps.env.STOCK_SHARDS}`
  const [seen] = await deps.db.select().from(redisRuns).where(eq(redisRuns.onlyRow, true))
  if (seen?.runIds === runIds) return
  deps.log.warn({ runIds, before: seen?.runIds }, 'another run of Redis: everything is loaded again')
  for (const recovery of recoveries) await recovery.dropAll()
  const values = { runIds, seenAt: new Date(deps.now()) }
  await deps.db
    .insert(redisRuns)
    .values(values)
    .onConflictDoUpdate({ target: redisRuns.onlyRow, set: values })
}

/**
 * The STOCK_SHARDS that the services on these stores were last started with, or undefined where none ever was.
 * @throws what Postgres says when it is away
 */
export async function findShardsInUse(db: Deps['db']): Promise<number | undefined> {
  const [seen] = await db.select().from(redisRuns).where(eq(redisRuns.onlyRow, true))
  const shards = /\/(\d+)$/.exec(seen?.runIds ?? '')?.[1]
  return shards === undefined ? undefined : Number(shards)
}

/**
 * Starts the recovery worker: it notices restarts of Redis, finishes abandoned grants and looks for drift, one process
 * at a time. Gives the function that stops it, which waits for the run under way.
 */
export function startWorker(deps: Deps, recoveries: Recovery[]): () => Promise<void> {
  const { env, locks, log } = deps
  const stopping = new AbortController()
  const warn = (error: unknown) => log.warn({ err: error }, 'recovery run failed')
  let runs = 0

  async function run(): Promise<void> {
    await locks.tryWith(keys.jobLock('recovery'), lockTtlMs, async () => {
      await noticeRedisRestart(deps, recoveries)
      const isReconciliationDue = runs++ % runsPerReconciliation === 0
      // Beside each other: what is the matter with one domain, or takes long, must not keep the others waiting.
      const ends = await Promise.allSettled(
        recoveries.map(async (recovery) => {
          await recovery.finishAbandoned(env.RECOVERY_MIN_AGE_MS)
          if (isReconciliationDue) await recovery.reconcile()
        }),
      )
      for (const end of ends) if (end.status === 'rejected') warn(end.reason)
    })
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      // A store that is away fails the run, and the next one tries again.
      await run().catch(warn)
      await pause(env.RECOVERY_INTERVAL_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  const stopped = loop()
  return () => {
    stopping.abort()
    return stopped
  }
}
