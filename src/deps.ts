import { randomUUIDv7 } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Logger } from 'pino'
import { openDatabase } from './db/client.ts'
import { openTransactions } from './db/transactions.ts'
import { createTrusting } from './db/trusting.ts'
import type { Env } from './env.ts'
import { createRequestIds } from './http/request-id.ts'
import { createLog } from './log.ts'
import { openRedis } from './redis/client.ts'
import { createLocks } from './redis/lock.ts'
import { readRunIds } from './redis/run.ts'
import { readScripts } from './redis/script-source.ts'
import { bindScripts } from './redis/scripts.ts'
import { createMetrics } from './telemetry/metrics.ts'
import { type Tracing, tracingOff } from './telemetry/tracing.ts'

/** Coupons, charges, orders, cancellations: each has its own, and its own connections for it. */
const groupCommits = 4
/** Tries of a batch that fails by chance: enough for many writers of one balance to get through one by one (BAL-6). */
const maxCommitAttempts = 16
/** What reads whole tables (an audit, a ranking counted anew) takes longer than any request may: for each statement, ms. */
const longReadMs = 600_000
/** How long a write may wait for its batch at most, ms. */
const maxCommitWaitMs = 10_000
/**
 * The part of `RECOVERY_MIN_AGE_MS` that a write may wait for its batch. What waits has been pending since Redis admitted
 * it: recovery would take it for dead, and each batch with such a one would be written twice, just when all are slow. The
 * rest of the age is for its transaction.
 */
const waitingPart = 2 / 3

export type Deps = ReturnType<typeof openDeps>

/** What a test may set instead of the real thing. */
export interface Ambient {
  /** wall clock, ms */
  now?: () => number
  newId?: () => string
  /** from 0 to below 1 */
  random?: () => number
  log?: Logger
  tracing?: Tracing
}

/** Opens the clients of both stores. Connections are made lazily; `close` ends them, Redis first. */
export function openDeps(env: Env, ambient: Ambient = {}) {
  const log = ambient.log ?? createLog(env.LOG_LEVEL)
  const random = ambient.random ?? Math.random
  const newId = ambient.newId ?? randomUUIDv7
  const metrics = createMetrics(env.ROLES)
  const sources = readScripts()
  const redis = openRedis({
    url: env.REDIS_URL,
    timeoutMs: env.REDIS_TIMEOUT_MS,
    connectionName: 'seonchak',
    scripts: sources,
    log,
  })
  const database = openDatabase({
    url: env.DATABASE_URL,
    pool: env.DATABASE_POOL,
    timeoutMs: env.DATABASE_TIMEOUT_MS,
    applicationName: 'seonchak',
  })
  const transactions = openTransactions({
    url: env.DATABASE_URL,
    lanes: env.COMMIT_MAX_IN_FLIGHT * groupCommits,
    maxWaiting: 100,
    timeoutMs: env.DATABASE_TIMEOUT_MS,
    applicationName: 'seonchak commit',
    onEnd: metrics.transaction,
  })
  metrics.watchLanes({ transactions: transactions.stats, reads: database.stats })
  metrics.watchStore('redis', () => readRunIds(redis))
  metrics.watchStore('postgres', () => database.db.execute(sql`select 1`))
  return {
    env,
    log,
    redis,
    scripts: bindScripts(redis, sources, metrics.script),
    locks: createLocks(redis, log),
    db: database.db,
    /** for transactions that read whole tables */
    patientDb: database.patient(longReadMs),
    transactions,
    metrics,
    tracing: ambient.tracing ?? tracingOff,
    now: ambient.now ?? Date.now,
    newId,
    newRequestId: createRequestIds(newId),
    random,
    trusting: createTrusting(env.COMMIT_MAX_BATCH),
    /** what all group commits have in common */
    commitOptions: {
      maxBatch: env.COMMIT_MAX_BATCH,
      maxInFlight: env.COMMIT_MAX_IN_FLIGHT,
      maxQueue: env.COMMIT_MAX_QUEUE,
      maxWaitMs: Math.min(maxCommitWaitMs, waitingPart * env.RECOVERY_MIN_AGE_MS),
      maxAttempts: maxCommitAttempts,
      backoffMs: (attempt: number) => random() * Math.min(2 ** attempt, 64),
      now: () => performance.now(),
      onSettleError: (error: unknown) => log.warn({ err: error }, 'not settled, left to recovery'),
    },
    async close() {
      redis.disconnect()
      await Promise.all([transactions.close(), database.close()])
    },
  }
}
