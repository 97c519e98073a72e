import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import postgres, { type Sql } from 'postgres'
import type { Verdict } from '../../src/audit/verdict.ts'
import { pickPort } from '../embedded/port.ts'
import { type PrivateStore, startPrivatePostgres, startPrivateRedis } from '../embedded/private-stores.ts'
import { plainMessage } from '../embedded/setup-error.ts'
import { startService } from '../start/service.ts'

const ROOT = join(import.meta.dirname, '../..')
const STOP_MS = 10_000
const TRIES = 5
/** A warm-up of a million holders takes its time. */
const ADMIN_MS = 180_000

export type Stores = { postgres: PrivateStore; redis: PrivateStore; remove(): Promise<void> }

/** A server under load; its stores are its own database and its own Redis database on the servers that all share. */
export type Stack = { pid: number; baseUrl: string; data: StackData | undefined; stop(): Promise<void> }

export type StackData = {
  sql: Sql
  adminToken: string
  redis: Redis
  /** Loads what was written into Postgres: this policy with its holders, or all. */
  warm(policyId?: number): Promise<void>
  audit(): Promise<Verdict>
}

/** Where a stack keeps its logs, and what ends its start. */
export type Surroundings = { stores: Stores; logDir: string; signal: AbortSignal }

/**
 * Starts both stores as they are meant to be run: fsync on, AOF synced every second, no eviction.
 * @throws SetupError when one cannot be run
 */
export async function startStores(log: (line: string) => void): Promise<Stores> {
  const started = await Promise.allSettled([
    // Room for the connections of three services; all else is the default of Postgres.
    startPrivatePostgres({ settings: { max_connections: '200' }, log }),
    startPrivateRedis({ log }),
  ])
  const remove = async () => {
    await Promise.all(
      started.map((store) => (store.status === 'fulfilled' ? store.value.remove() : undefined)),
    )
  }
  const [first, second] = started
  if (first.status === 'fulfilled' && second.status === 'fulfilled') {
    return { postgres: first.value, redis: second.value, remove }
  }
  await remove()
  throw first.status === 'rejected' ? first.reason : second.status === 'rejected' ? second.reason : undefined
}

/** Starts the bare handler. */
export async function startBare({ logDir, signal }: Omit<Surroundings, 'stores'>): Promise<Stack> {
  const { pid, baseUrl, stop } = await launch(
    'The bare handler',
    join(import.meta.dirname, 'bare.ts'),
    process.env,
    { logFile: join(logDir, 'bare.log'), signal },
  )
  return { pid, baseUrl, stop, data: undefined }
}

/** Starts a server on a free port; another program may take that one first, and then it is tried with another. */
async function launch(
  name: string,
  entry: string,
  env: NodeJS.ProcessEnv,
  { logFile, signal }: { logFile: string; signal: AbortSignal },
): Promise<Pick<Stack, 'pid' | 'baseUrl' | 'stop'> & { tail(): string }> {
  for (let tried = 1; ; tried++) {
    const port = await pickPort()
    const baseUrl = `http://127.0.0.1:${port}`
    try {
      const server = await startService({
        name,
        entry,
        root: ROOT,
        env: { ...env, HOST: '127.0.0.1', PORT: String(port) },
        baseUrl,
        logFile,
        onSpawn: () => undefined,
        signal,
      })
      const stop = () => server.end('SIGTERM', STOP_MS)
      return { pid: server.pid, baseUrl, tail: () => server.tail(), stop }
    } catch (error) {
      const isTaken = /Port \d+ is taken|EADDRINUSE/.test(plainMessage(error))
      if (!isTaken || tried === TRIES) throw error
    }
  }
}

/**
 * Starts the service over an empty database and an empty Redis database.
 * @param redisDb one that nobody else uses meanwhile, 0 to 15
 * @param settings of the service, over those of the environment
 */
export async function startStack(
  { stores, logDir, signal }: Surroundings,
  redisDb: number,
  settings: Record<string, string>,
): Promise<Stack> {
  const adminToken = randomBytes(24).toString('hex')
  const admin = postgres(stores.postgres.url, { max: 1, onnotice: () => undefined })
  const name = `bench_${randomBytes(6).toString('hex')}`
  await admin.unsafe(`create database ${name}`)
  const databaseUrl = withPath(stores.postgres.url, name)
  const redisUrl = withPath(stores.redis.url, String(redisDb))
  const redis = new Redis(redisUrl)
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => undefined })
  const clean = async () => {
    await sql.end({ timeout: 1 })
    await admin.unsafe(`drop database ${name} with (force)`)
    await admin.end({ timeout: 1 })
    await redis.flushdb()
    redis.disconnect()
  }
  try {
    const env = {
      LOG_LEVEL: 'warn',
      ...process.env,
      ...settings,
      DATABASE_URL: databaseUrl,
      REDIS_URL: redisUrl,
      ADMIN_TOKEN: adminToken,
    }
    const logFile = join(logDir, `${name}.log`)
    const service = await launch('The service', join(ROOT, 'src/main.ts'), env, { logFile, signal })
    const { pid, baseUrl } = service
    const call = <Answer>(path: string, body: object) =>
      callAdmin<Answer>({ baseUrl, adminToken, path, body, logs: { service, ...stores } })
    return {
      pid,
      baseUrl,
      data: {
        sql,
        adminToken,
        redis,
        warm: async (policyId) => void (await call('/v1/admin/cache/warm', policyId ? { policyId } : {})),
        audit: () => call<Verdict>('/v1/admin/audit', {}),
      },
      async stop() {
        await service.stop()
        await clean()
      },
    }
  } catch (error) {
    await clean()
    throw error
  }
}

function withPath(url: string, path: string): string {
  const changed = new URL(url)
  changed.pathname = `/${path}`
  return changed.href
}

/** @throws Error with what went wrong and the ends of the logs, which are gone after the run */
async function callAdmin<Answer>(options: {
  baseUrl: string
  adminToken: string
  path: string
  body: object
  logs: { service: { tail(): string }; redis: PrivateStore; postgres: PrivateStore }
}): Promise<Answer> {
  const { baseUrl, adminToken, path, body, logs } = options
  try {
    const response = await fetch(baseUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${adminToken}` },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ADMIN_MS),
    })
    const text = await response.text()
    if (response.ok) return JSON.parse(text) as Answer
    throw new Error(`it answered ${response.status}: ${text.slice(0, 300)}`)
  } catch (error) {
    const { service, redis, postgres } = logs
    const ends = Object.entries({ service, redis, postgres }).map(
      ([name, { tail }]) => `the log of ${name} ends:\n${tail()}`,
    )
    throw new Error([`${path}: ${plainMessage(error)}`, ...ends].join('\n'), { cause: error })
  }
}
