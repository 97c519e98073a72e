import { existsSync } from 'node:fs'
import { access, constants, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { run } from './os-process.ts'
import { SetupError, throwIfAborted } from './setup-error.ts'

const OLDEST = '7.0'
const APT_TIMEOUT_MS = 180_000

/** A server program; `calledAs` is the name to start it by when its file has another one. */
export type RedisBinary = { path: string; calledAs?: string; name: 'Redis' | 'Valkey'; version: string }

/**
 * Debian's and Ubuntu's redis-tools hold the server as well: redis-check-rdb is the same program, which goes by the
 * name that it is called by, and their redis-server is but a link to it. Installing only the tools gives us the
 * server without a service that starts at once, and again at each boot, and takes port 6379 from somebody.
 */
const CANDIDATES = [
  { file: 'redis-server' },
  { file: 'valkey-server' },
  { file: 'redis-check-rdb', calledAs: 'redis-server' },
  { file: 'valkey-check-rdb', calledAs: 'valkey-server' },
]

const REMEDY = `Install one, then start again:
  Debian, Ubuntu   apt-get install redis-server
  macOS            brew install redis
  Docker           docker run -d -p 127.0.0.1:6379:6379 redis:8-alpine, with REDIS_URL=redis://127.0.0.1:6379
or set REDIS_URL to a Redis ${OLDEST}+ or Valkey that runs already.`

/**
 * A Redis (7.0 or newer) or Valkey server program: one on PATH; else, as root on Debian or Ubuntu, one installed
 * with apt-get, after saying so.
 * @param options.log gets one line when something is installed
 * @throws SetupError BINARY_MISSING that names what to install, ABORTED
 */
export async function findRedis(options: {
  log: (line: string) => void
  signal?: AbortSignal | undefined
}): Promise<RedisBinary> {
  const { log, signal } = options
  let old: RedisBinary | undefined
  for await (const found of onPath(signal)) {
    if (isRecent(found)) return found
    old ??= found
  }
  if (old) {
    throw new SetupError(
      'BINARY_MISSING',
      `${old.path} is ${old.name} ${old.version}; ${OLDEST} is the oldest that will do. ${REMEDY}`,
    )
  }
  const reason = await whyNotApt()
  if (reason)
    throw new SetupError(
      'BINARY_MISSING',
      `There is no redis-server and no valkey-server here (${reason}). ${REMEDY}`,
    )
  log(
    'redis-server is not installed: installing it with apt-get (package redis-tools, no service is started)',
  )
  await aptInstall(signal)
  for await (const installed of onPath(signal)) if (isRecent(installed)) return installed
  throw new SetupError(
    'BINARY_MISSING',
    `apt-get installed redis-tools, but no Redis ${OLDEST}+ came with it. ${REMEDY}`,
  )
}

async function* onPath(signal: AbortSignal | undefined): AsyncGenerator<RedisBinary> {
  for (const { file, calledAs } of CANDIDATES) {
    for (const folder of (process.env.PATH ?? '').split(delimiter).filter(Boolean)) {
      const path = join(folder, file)
      const executable = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
      const told = executable ? await versionOf(path, calledAs, signal) : undefined
      if (told) yield { path, ...(calledAs && { calledAs }), ...told }
    }
  }
}

/** Asks the program; undefined when it does not answer as a server does. */
async function versionOf(
  path: string,
  calledAs: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Pick<RedisBinary, 'name' | 'version'> | undefined> {
  const { output } = await run(path, ['--version'], { timeoutMs: 5000, calledAs, signal }).catch((error) => {
    if (signal?.aborted) throw error
    return { output: '' } // a file that only looks like it, such as one for another processor
  })
  const [, name, version] = /\b(redis|valkey) server v=([\d.]+)/i.exec(output) ?? []
  return version ? { name: name?.toLowerCase() === 'valkey' ? 'Valkey' : 'Redis', version } : undefined
}

function isRecent({ version }: RedisBinary): boolean {
  return version.localeCompare(OLDEST, 'en', { numeric: true }) >= 0
}

/** Why apt-get is not for us to use; undefined when it is. */
async function whyNotApt(): Promise<string | undefined> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '')
  if (!/^(?:ID|ID_LIKE)=.*\b(?:debian|ubuntu)\b/m.test(release) || !existsSync('/usr/bin/apt-get')) {
    return 'and this is no Debian or Ubuntu, where it could be installed with apt-get'
  }
  return process.geteuid?.() === 0 ? undefined : 'and only root can install it with apt-get'
}

/**
 * Downloads with the package lists as they are, which is fast; only when that fails are they fetched. A download may
 * be interrupted. The installation that follows takes seconds and is left to end: broken off in the middle it would
 * leave the system's packages half configured.
 */
async function aptInstall(signal: AbortSignal | undefined): Promise<void> {
  const settings = ['DPkg::Lock::Timeout=60', 'Acquire::Retries=2', 'Acquire::http::Timeout=20']
  const apt = (words: string[], by?: AbortSignal) =>
    run('/usr/bin/apt-get', ['-q', '-y', ...settings.flatMap((one) => ['-o', one]), ...words], {
      timeoutMs: APT_TIMEOUT_MS,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      signal: by,
    })
  const install = ['install', '--no-install-recommends', 'redis-tools']
  let said = ''
  let fetched = await apt([...install, '--download-only'], signal)
  if (fetched.code !== 0) {
    said = (await apt(['update'], signal)).output
    fetched = await apt([...install, '--download-only'], signal)
  }
  throwIfAborted(signal)
  const installed = fetched.code === 0 ? await apt([...install, '--no-download']) : fetched
  throwIfAborted(signal)
  if (installed.code === 0) return
  const errors = `${said}\n${installed.output}`.split('\n').filter((line) => line.startsWith('E:'))
  const why = errors.slice(0, 2).join(' ') || installed.output.trim().slice(-300)
  throw new SetupError('BINARY_MISSING', `apt-get could not install redis-tools: ${why}\n${REMEDY}`)
}
