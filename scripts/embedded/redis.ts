import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { assertPortFree, pickPort } from './port.ts'
import { findRedis, type RedisBinary } from './redis-binary.ts'
import { type Exit, type ServerProcess, spawnServer } from './server-process.ts'
import { SetupError, throwIfAborted } from './setup-error.ts'

const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 15_000
const POLL_MS = 20

export type RedisOptions = {
  /** folder of the data; made when missing */
  dir: string
  /** default: a free one */
  port?: number | undefined
  password: string
  /** default true: an append-only file, synced every second */
  appendonly?: boolean | undefined
  /** further lines of redis.conf, by directive */
  settings?: Readonly<Record<string, string>> | undefined
  /** gets what a person should know, a line at a time */
  log: (line: string) => void
  /** told the process number as soon as there is one, before the server is ready */
  onSpawn?: ((pid: number) => void) | undefined
  /** ends the start; nothing is left running then */
  signal?: AbortSignal | undefined
}

export type RunningRedis = {
  url: string
  port: number
  pid: number
  dir: string
  logFile: string
  /** such as "Redis 7.0.15" */
  version: string
  exited: Promise<Exit>
  /** the last lines of this run's log, for an error message */
  tail(): string
  /** Saves and ends within 15 s (one second once `hurry` aborts), else by SIGKILL. */
  stop(hurry?: AbortSignal): Promise<void>
  /** Ends it without a chance to save: SIGKILL unless told otherwise. Resolves when it is gone. */
  kill(signal?: NodeJS.Signals): Promise<void>
}

/**
 * Starts a Redis or Valkey on 127.0.0.1 and resolves when it answers PING with its data loaded. Its log is
 * `<dir>.log`. It never evicts: under memory pressure it refuses writes, which the service sheds.
 * @throws SetupError BINARY_MISSING, PORT_TAKEN, OTHER_VERSION (data written by a newer one), START_FAILED, ABORTED
 */
export async function startRedis(options: RedisOptions): Promise<RunningRedis> {
  const { password, log, onSpawn, signal } = options
  const dir = resolve(options.dir)
  throwIfAborted(signal)
  const binary = await findRedis({ log, signal })
  await mkdir(dir, { recursive: true, mode: 0o700 })
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal)
    const port = options.port ?? (await pickPort())
    await assertPortFree(port, { what: 'Redis', remedy: 'Stop that program, or set REDIS_URL to use it.' })
    const server = await launch(binary, port, { ...options, dir })
    try {
      onSpawn?.(server.pid)
      await untilReady(server, port, { ...options, dir })
    } catch (error) {
      await server.end('SIGTERM', 2000)
      const taken = error instanceof SetupError && error.code === 'PORT_TAKEN'
      if (taken && options.port === undefined && attempt < 5) continue
      throw error
    }
    const { pid, logFile, exited } = server
    return {
      url: `redis://:${encodeURIComponent(password)}@127.0.0.1:${port}`,
      port,
      pid,
      dir,
      logFile,
      version: `${binary.name} ${binary.version}`,
      exited,
      tail: () => server.tail(),
      stop: (hurry) => server.end('SIGTERM', STOP_TIMEOUT_MS, hurry),
      kill: (by = 'SIGKILL') => server.kill(by),
    }
  }
}

/** The password goes through a file that only this user can read: arguments are seen by everybody in `ps`. */
async function launch(binary: RedisBinary, port: number, options: RedisOptions): Promise<ServerProcess> {
  const { dir, password, appendonly = true, settings } = options
  const quoted = JSON.stringify
  const directives: Record<string, string> = {
    bind: '127.0.0.1',
    port: String(port),
    requirepass: quoted(password),
    dir: quoted(dir),
    daemonize: 'no',
    appendonly: appendonly ? 'yes' : 'no',
    appendfsync: 'everysec',
    save: '""',
    'maxmemory-policy': 'noeviction',
    ...settings,
  }
  const file = join(dir, 'redis.conf')
  const text = Object.entries(directives).map(([name, value]) => `${name} ${value}\n`)
  await writeFile(file, text.join(''), { mode: 0o600 })
  await chmod(file, 0o600)
  return spawnServer({
    command: binary.path,
    calledAs: binary.calledAs,
    args: [file],
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    cwd: dir,
    logFile: `${dir}.log`,
  })
}

async function untilReady(
  server: ServerProcess,
  port: number,
  { dir, password, signal }: RedisOptions,
): Promise<void> {
  const end = performance.now() + READY_TIMEOUT_MS
  for (;;) {
    throwIfAborted(signal)
    const answer = await ping(port, password)
    if (server.exit !== undefined) throw startFailure(server, port, dir)
    if (answer === 'ready') return
    if (performance.now() > end) {
      const why = `Redis did not answer PING within ${READY_TIMEOUT_MS / 1000} s (${answer})`
      throw new SetupError('START_FAILED', `${why}; its log ${server.logFile} ends:\n${server.tail()}`)
    }
    await delay(POLL_MS)
  }
}

/** One AUTH and PING; 'ready' when both are answered well, else what was answered, such as LOADING. */
function ping(port: number, password: string): Promise<string> {
  const resp = (...words: string[]) =>
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    let reply = ''
    const finish = (result: string) => {
      socket.destroy()
      resolve(result)
    }
    socket.setTimeout(1000, () => finish('no answer within 1 s'))
    socket.once('error', (error) => finish(error.message))
    socket.once('close', () => finish(reply.trim() || 'connection closed'))
    socket.once('connect', () => socket.write(resp('AUTH', password) + resp('PING')))
    socket.setEncoding('utf8').on('data', (part) => {
      reply += part
      const [auth, pong, more] = reply.split('\r\n')
      if (more !== undefined) finish(auth === '+OK' && pong === '+PONG' ? 'ready' : `${auth} ${pong}`)
    })
  })
}

function startFailure(server: ServerProcess, port: number, dir: string): SetupError {
  const { exit, logFile } = server
  const tail = server.tail()
  if (/Address already in use/.test(tail)) {
    return new SetupError('PORT_TAKEN', `Redis cannot have port ${port}: another program listens there.`)
  }
  if (/Can't handle RDB format version|AOF.*format/.test(tail)) {
    return new SetupError(
      'OTHER_VERSION',
      `The data in ${dir} was written by a newer Redis than the one that is installed. Install that ` +
        'one, or delete the data: the service rebuilds it from Postgres.',
    )
  }
  return new SetupError('START_FAILED', `Redis ended at once (${exit}); its log ${logFile} ends:\n${tail}`)
}
