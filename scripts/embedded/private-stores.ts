import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Guardian, guard } from './guardian.ts'
import { startPostgres } from './postgres.ts'
import { canReach } from './postgres-binaries.ts'
import { postgresOwner } from './postgres-owner.ts'
import { startRedis } from './redis.ts'

export type PrivateStore = {
  /** stays the same over restarts */
  readonly url: string
  /** such as "Postgres 18.4" */
  readonly version: string
  /** folder of the data; may be read and changed while the store is stopped */
  readonly dir: string
  /** of the server that runs now; 0 while it is stopped */
  readonly pid: number
  /** Stops it in order; the data stays. Does nothing when it is stopped. */
  stop(): Promise<void>
  /** Ends it as a crash would: SIGKILL, for Postgres to its backends too. The data stays. */
  kill(): Promise<void>
  /** Starts it again on the same port and data, after stopping it when it runs. Resolves when it answers. */
  restart(): Promise<void>
  /** The last lines of its log; empty while it is stopped. */
  tail(): string
  /** Stops it and deletes its data. Happens by itself when the process ends without it. */
  remove(): Promise<void>
}

type Server = {
  url: string
  version: string
  pid: number
  port: number
  tail(): string
  stop(): Promise<void>
  kill(): Promise<void>
}

/**
 * A Redis of the caller's own: empty, on a free port, with an append-only file synced every second unless told
 * otherwise.
 * @param options.settings further directives of redis.conf
 * @param options.log gets what a person should know, a line at a time
 * @throws SetupError when there is no Redis to run
 */
export async function startPrivateRedis(
  options: PrivateOptions & { password?: string; appendonly?: boolean } = {},
): Promise<PrivateStore> {
  const { appendonly, settings, log = console.log } = options
  const { password = randomBytes(12).toString('hex') } = options
  return runPrivately('redis', log, (dir, common) =>
    startRedis({ dir, password, appendonly, settings, ...common }),
  )
}

/**
 * A Postgres of the caller's own: an empty cluster on a free port. The URL leads to its database `postgres`, as the
 * superuser.
 * @param options.settings server settings by name; durable unless these say otherwise
 * @param options.log gets what a person should know, a line at a time
 * @throws SetupError when it cannot be run
 */
export async function startPrivatePostgres(options: PrivateOptions = {}): Promise<PrivateStore> {
  const { settings, log = console.log } = options
  const password = randomBytes(12).toString('hex')
  return runPrivately('postgres', log, (dataDir, common) =>
    startPostgres({ dataDir, password, database: 'postgres', settings, ...common }),
  )
}

type PrivateOptions = {
  settings?: Readonly<Record<string, string>>
  log?: (line: string) => void
}

type Common = { port: number | undefined; log: (line: string) => void; onSpawn: (pid: number) => void }

async function runPrivately(
  name: string,
  log: (line: string) => void,
  start: (dir: string, common: Common) => Promise<Server>,
): Promise<PrivateStore> {
  const { folder, guardian } = await makePrivateFolder(log)
  const dir = join(folder, name)
  let server: Server | undefined
  const launch = async (port?: number) => {
    server = await start(dir, { port, log, onSpawn: guardian.server })
    return server
  }
  const end = async (how: 'stop' | 'kill') => {
    const ended = server
    server = undefined
    await ended?.[how]()
    guardian.server(0)
  }
  const remove = async () => {
    await end('stop')
    await rm(folder, { recursive: true, force: true })
    guardian.release()
  }
  try {
    const { url, version, port } = await launch()
    const restart = async () => {
      await end('stop')
      await launch(port)
    }
    return {
      url,
      version,
      dir,
      get pid() {
        return server?.pid ?? 0
      },
      stop: () => end('stop'),
      kill: () => end('kill'),
      restart,
      tail: () => server?.tail() ?? '',
      remove,
    }
  } catch (error) {
    await remove()
    throw error
  }
}

/**
 * A fresh folder that others may pass through but not list, and the guardian of it, who comes first: a Ctrl-C may
 * come between. Where root runs Postgres as its own user, that user must get in: TMPDIR may be somebody's private one.
 */
export async function makePrivateFolder(
  log: (line: string) => void,
): Promise<{ folder: string; guardian: Guardian }> {
  const owner = await postgresOwner(log)
  for (const parent of [tmpdir(), '/tmp', '/var/tmp']) {
    if (owner !== undefined && !(await canReach(owner, '-x', [parent]))) continue
    const folder = join(parent, `seonchak-${randomBytes(6).toString('hex')}`)
    const guardian = guard(folder)
    await mkdir(folder)
    await chmod(folder, 0o711)
    return { folder, guardian }
  }
  throw new Error('No temporary folder that the user "postgres" can reach: set TMPDIR to one.')
}
