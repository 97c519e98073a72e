// `npm start`: the service with everything it needs on this machine, and nothing left behind when it ends.
import { chmod, mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { readEnv } from '../src/env.ts'
import { assertPortFree, pickPort } from './embedded/port.ts'
import { startPostgres } from './embedded/postgres.ts'
import { startRedis } from './embedded/redis.ts'
import type { Exit } from './embedded/server-process.ts'
import { plainMessage, SetupError, unlessAborted } from './embedded/setup-error.ts'
import { seedDemo } from './seed.ts'
import { banner, withoutPassword } from './start/banner.ts'
import { type End, listenForEnd } from './start/end.ts'
import { claimRun, type RunRecord } from './start/run-record.ts'
import { keepSecrets, type Secrets } from './start/secrets.ts'
import { startService } from './start/service.ts'
import { keepStores } from './start/stores.ts'

/** Where stores and data platform are found again from start to start, unless somebody else is there. */
const POSTGRES_PORT = 15_432
const REDIS_PORT = 16_379
const PLATFORM_PORT = 14_000
const ROOT = join(import.meta.dirname, '..')

type Part = {
  name: string
  exited: Promise<Exit>
  logFile: string
  tail(): string
  stop(hurry: AbortSignal): Promise<void>
}

type Context = {
  env: NodeJS.ProcessEnv
  entry: string
  dataDir: string
  end: End
  record: RunRecord
  /** what runs, in the order of its start */
  parts: Part[]
}

/** What the service uses: where it is, and what the banner says of it. */
type Store = { url: string; about: string }

/**
 * Runs Postgres, Redis, the fake data platform and the service until a signal asks for the end or one of them dies,
 * then stops all of them, users before what they use. `DATABASE_URL`, `REDIS_URL` and `DATA_PLATFORM_URL` name what
 * runs already; what is unset is started here, with its data in `DATA_DIR` (default `.data`).
 * @param options.entry the service's program
 * @returns the exit code: 0 when a signal ended it, 1 when it could not start or something died. Never throws: what
 *   went wrong is printed in plain lines
 */
export async function start(options: { entry?: string; env?: NodeJS.ProcessEnv } = {}): Promise<number> {
  const { entry = join(ROOT, 'src/main.ts'), env = process.env } = options
  const dataDir = resolve(env.DATA_DIR || join(ROOT, '.data'))
  const end = listenForEnd(env, say)
  const parts: Part[] = []
  let record: RunRecord | undefined
  let failure: string | undefined
  try {
    // A strict umask must not lock Postgres' own user out of its folder. What is secret has a mode of its own.
    if ((await mkdir(dataDir, { recursive: true })) !== undefined) await chmod(dataDir, 0o711)
    record = await claimRun(dataDir, say)
    say(await bringUp({ env, entry, dataDir, end, record, parts }))
    await end.reached
  } catch (error) {
    // What an end that was asked for interrupted is no failure of its own.
    if (!end.signal.aborted) failure = plainMessage(error)
  }
  failure ??= end.death
  if (failure !== undefined) complain(failure)
  end.stopping()
  const steps = [() => record?.stopping(), ...parts.reverse().map((part) => () => part.stop(end.hurry))]
  for (const step of [...steps, () => record?.release()]) {
    try {
      await step()
    } catch (error) {
      complain(plainMessage(error)) // and on: whatever can be stopped is stopped
    }
  }
  return failure === undefined ? 0 : 1
}

async function bringUp(context: Context): Promise<string> {
  const { env, entry, dataDir, end, record, parts } = context
  const port = readPort(env.PORT)
  const remedy = `Stop it, or choose another port: PORT=${port + 1} npm start`
  // ::1 too, although the service does not listen there: it is where `localhost` leads first.
  const hosts = env.HOST ? [env.HOST] : ['0.0.0.0', '127.0.0.1', '::1']
  await assertPortFree(port, { what: 'The service', remedy, hosts })

  const secrets = await keepSecrets(dataDir)
  const adminToken = env.ADMIN_TOKEN || secrets.adminToken
  const postgres = await providePostgres(context, secrets)
  const redis = await provideRedis(context, secrets)
  const platform = await provideDataPlatform(context)

  const given = env.HOST && !['0.0.0.0', '::'].includes(env.HOST) ? env.HOST : undefined
  // A URL has IPv6 addresses in brackets.
  const host = given?.includes(':') ? `[${given}]` : given
  const stores = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, DATA_PLATFORM_URL: platform.url }
  await keepStores(dataDir, stores)
  const settings = { ...env, ...stores, PORT: String(port), ADMIN_TOKEN: adminToken }
  // Wrong settings are found before the database is touched.
  readEnv(settings)
  // Before the service, so that whoever waits until that is ready finds something to try it with.
  const demo = await unlessAborted(end.signal, seedDemo(postgres.url, new Date()))
  const service = await startService({
    name: 'The service',
    entry,
    root: ROOT,
    env: settings,
    baseUrl: `http://${host ?? '127.0.0.1'}:${port}`,
    logFile: join(dataDir, 'service.log'),
    onSpawn: (pid) => record.note('service', pid),
    signal: end.signal,
  })
  const graceMs = Number(env.SHUTDOWN_TIMEOUT_MS || 10_000) + 5000
  watch(context, {
    name: 'The service',
    exited: service.exited,
    logFile: service.logFile,
    tail: () => service.tail(),
    stop: (hurry) => service.end('SIGTERM', graceMs, hurry),
  })

  const baseUrl = `http://${host ?? 'localhost'}:${port}`
  const logs = parts.map(({ logFile }) => logFile)
  return banner({
    baseUrl,
    postgres: postgres.about,
    redis: redis.about,
    platform: platform.about,
    dataDir,
    logs,
    adminToken,
    ...demo,
  })
}

async function providePostgres(context: Context, { postgresPassword }: Secrets): Promise<Store> {
  const { env, dataDir, end, record } = context
  const given = env.DATABASE_URL
  if (given) return { url: given, about: `${withoutPassword(given)}   from DATABASE_URL` }
  const postgres = await startPostgres({
    dataDir: join(dataDir, 'postgres'),
    port: await pickPort(POSTGRES_PORT),
    password: postgresPassword,
    settings: { max_connections: '200' },
    log: say,
    onSpawn: (pid) => record.note('postgres', pid),
    signal: end.signal,
  })
  watch(context, { ...postgres, name: 'Postgres' })
  return { url: postgres.url, about: `${postgres.url}   ${postgres.version}, embedded` }
}

async function provideRedis(context: Context, { redisPassword }: Secrets): Promise<Store> {
  const { env, dataDir, end, record } = context
  const given = env.REDIS_URL
  if (given) return { url: given, about: `${withoutPassword(given)}   from REDIS_URL` }
  const redis = await startRedis({
    dir: join(dataDir, 'redis'),
    port: await pickPort(REDIS_PORT),
    password: redisPassword,
    log: say,
    onSpawn: (pid) => record.note('redis', pid),
    signal: end.signal,
  })
  watch(context, { ...redis, name: 'Redis' })
  return { url: redis.url, about: `${redis.url}   ${redis.version}` }
}

async function provideDataPlatform(context: Context): Promise<Store> {
  const { env, dataDir, end, record } = context
  const given = env.DATA_PLATFORM_URL
  if (given) return { url: given, about: `${withoutPassword(given)}   from DATA_PLATFORM_URL` }
  const port = await pickPort(PLATFORM_PORT)
  const baseUrl = `http://127.0.0.1:${port}`
  const name = 'The fake data platform'
  const platform = await startService({
    name,
    entry: join(ROOT, 'scripts/fake-data-platform.ts'),
    root: ROOT,
    env: { ...env, HOST: '127.0.0.1', PORT: String(port) },
    baseUrl,
    logFile: join(dataDir, 'data-platform.log'),
    onSpawn: (pid) => record.note('data platform', pid),
    signal: end.signal,
  })
  const { exited, logFile, tail, end: stop } = platform
  watch(context, { name, exited, logFile, tail, stop: (hurry) => stop('SIGTERM', 2000, hurry) })
  return {
    url: `${baseUrl}/events`,
    about: `${baseUrl}/events   fake: shows the events of orders that it got`,
  }
}

/** From here on the part is stopped at the end, and its own end is the end of all. */
function watch({ parts, end }: Context, part: Part): void {
  parts.push(part)
  void part.exited.then((exit) => {
    end.died(`${part.name} ended unexpectedly (${exit}); its log ${part.logFile} ends:\n${part.tail()}`)
  })
}

function readPort(text: string | undefined): number {
  const given = text || '3000'
  const port = Number(given)
  if (/^\d+$/.test(given) && port >= 1 && port <= 65_535) return port
  throw new SetupError('WRONG_SETTING', `PORT is "${text}"; it must be a number from 1 to 65535.`)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function complain(line: string): void {
  process.stderr.write(`seonchak: ${line}\n`)
}

if (import.meta.main) process.exit(await start())
