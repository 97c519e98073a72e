import { sql } from 'drizzle-orm'
import { pino } from 'pino'
import { openDeps } from '../src/deps.ts'
import { createDomains, type Domains } from '../src/domains.ts'
import { EnvError, readEnv } from '../src/env.ts'
import { createLog } from '../src/log.ts'
import { untilReady } from '../src/redis/client.ts'
import { plainMessage } from './embedded/setup-error.ts'
import { causeOf, UnreachableError } from './exit-code.ts'
import { findStores } from './start/stores.ts'

const CONNECT_TIMEOUT_MS = 5000

/**
 * Runs a tool on the domains of the service, over the stores that the environment or the last `npm start` names. Its
 * log is for LOG_LEVEL to ask for, and goes to standard error.
 * @throws UnreachableError when a store is not named or not there
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
    return await run(domains)
  } finally {
    await domains.drain()
    await deps.close()
  }
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
