import { sql } from 'drizzle-orm'
import { pino } from 'pino'
import { isDatabaseUnavailable } from '../src/db/failure.ts'
import { openDeps } from '../src/deps.ts'
import { createDomains, type Domains } from '../src/domains.ts'
import { EnvError, readEnv } from '../src/env.ts'
import { createLog } from '../src/log.ts'
import { untilReady } from '../src/redis/client.ts'
import { isRedisUnavailable } from '../src/redis/failure.ts'
import { findShardsInUse } from '../src/worker.ts'
import { plainMessage } from './embedded/setup-error.ts'
import { causeOf, UnreachableError } from './exit-code.ts'
import { findStores } from './start/stores.ts'

const CONNECT_TIMEOUT_MS = 5000

/**
 * Runs a tool on the domains of the service, over the stores that the environment or the last `npm start` names. Its
 * log is for LOG_LEVEL to ask for, and goes to standard error.
 * @throws UnreachableError when a store is not named, not there or lost meanwhile, or STOCK_SHARDS is not that of the
 *   service
 */
export async function withDomains<Result>(run: (domains: Domains) => Promise<Result>): Promise<Result> {
  const deps = await openStores()
  const domains = createDomains(deps)
  try {
    await untilReady(deps.redis, CONNECT_TIMEOUT_MS).catch((error: unknown) => {
      throw new UnreachableError(`Redis cannot be reached: ${plainMessage(error)}`)
    })
    await deps.db.execute(sql`select 1 from products limit 1`).catch((error: unknown) => {
      throw new UnreachableError(`Postgres cannot be used: ${plainMessage(causeOf(error))}`)
    })
    await assertShards(deps)
    return await run(domains).catch((error: unknown) => {
      throw isStoreLost(causeOf(error))
        ? new UnreachableError(`A store does not answer any more: ${plainMessage(causeOf(error))}`)
        : error
    })
  } finally {
    await domains.drain()
    await deps.close()
  }
}

const isStoreLost = (error: unknown) => isDatabaseUnavailable(error) || isRedisUnavailable(error)

/** With another number products lie elsewhere in Redis: the tool would count and load them where nobody looks. */
async function assertShards({ db, env }: Awaited<ReturnType<typeof openStores>>): Promise<void> {
  const inUse = await findShardsInUse(db)
  if (inUse === undefined || inUse === env.STOCK_SHARDS) return
  throw new UnreachableError(
    `STOCK_SHARDS is ${env.STOCK_SHARDS} here, and the service was last started with ${inUse}: set STOCK_SHARDS=${inUse}.`,
  )
}

async function openStores() {
  const stores = await findStores(process.env)
  const level = process.env.LOG_LEVEL || 'fatal'
  try {
    const log = createLog(level, pino.destination({ fd: 2, sync: true }))
    return openDeps(readEnv({ ...process.env, ...stores }), { log })
  } catch (error) {
    if (!(error instanceof EnvError)) throw error
    const hint =
      'Set DATABASE_URL and REDIS_URL, or run npm start, whose stores are used when they are unset.'
    throw new UnreachableError(`${error.message}\n${hint}`)
  }
}
