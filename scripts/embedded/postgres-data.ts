import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { commandOf, type Owner, run } from './os-process.ts'
import { canReach, reachableRoot } from './postgres-binaries.ts'
import { SetupError } from './setup-error.ts'

const COPY_TIMEOUT_MS = 120_000

/**
 * Where the data that is wanted in `wanted` can lie so that `owner` reaches it: there, or, when that user cannot
 * enter its parent folder, under a system folder by a random id that is noted in `<wanted>.elsewhere`. So the data
 * belongs to the project's data directory all the same: where that is deleted, the next start begins anew. Data that
 * lies in `wanted` already is copied. The folder is made, for `owner` alone.
 * @returns the folder to give to Postgres, absolute
 * @throws SetupError NOT_PERMITTED when it is another user's, or another project's
 */
export async function placeData(
  wanted: string,
  owner: Owner | undefined,
  log: (line: string) => void,
): Promise<string> {
  const home = resolve(wanted)
  const parent = dirname(home)
  // Without regard to a strict umask, so that the parent is no obstacle where those above it are none.
  if ((await mkdir(parent, { recursive: true })) !== undefined) await chmod(parent, 0o711)
  if (owner === undefined) {
    await mkdir(home, { recursive: true, mode: 0o700 })
    if ((await stat(home)).uid === process.geteuid?.()) return home
    throw new SetupError(
      'NOT_PERMITTED',
      `${home} belongs to another user. Start as that one, or set DATA_DIR.`,
    )
  }
  const elsewhere = existsSync(`${home}.elsewhere`) || !(await canReach(owner, '-x', [parent]))
  const place = elsewhere ? await placeElsewhere(home, log) : home
  await mkdir(place, { recursive: true, mode: 0o700 })
  await giveTo(owner, place)
  return place
}

async function placeElsewhere(home: string, log: (line: string) => void): Promise<string> {
  const note = `${home}.elsewhere`
  const noted = (await readFile(note, 'utf8').catch(() => '')).trim()
  const id = /^[\w-]{36}$/.test(noted) ? noted : randomUUID()
  const folder = join(await reachableRoot(), `data-${id}`)
  const place = join(folder, 'postgres')
  if (noted === id) await assertNotCopied(home, id, folder)
  await mkdir(folder, { recursive: true, mode: 0o711 })
  if (noted !== id && existsSync(join(home, 'PG_VERSION'))) {
    const copied = await run('cp', ['-a', home, `${place}.copy`], { timeoutMs: COPY_TIMEOUT_MS })
    if (copied.code !== 0)
      throw new SetupError('START_FAILED', `${home} cannot be copied to ${place}: ${copied.output}`)
    await rename(`${place}.copy`, place)
  }
  await writeFile(join(folder, 'origin'), `${home}\n`)
  await writeFile(note, `${id}\n`)
  log(`Postgres does not run as root, and its user cannot enter ${dirname(home)}: its data is in ${place}`)
  return place
}

/** A project folder that was copied with its data directory would share one database with its original. */
async function assertNotCopied(home: string, id: string, folder: string): Promise<void> {
  const origin = (await readFile(join(folder, 'origin'), 'utf8').catch(() => '')).trim()
  if (origin === '' || origin === home) return
  const there = (await readFile(`${origin}.elsewhere`, 'utf8').catch(() => '')).trim()
  if (there !== id) return // moved, not copied
  throw new SetupError(
    'NOT_PERMITTED',
    `${home}.elsewhere was copied from ${dirname(origin)}, whose Postgres data it names. ` +
      `Delete ${dirname(home)} to begin with data of its own.`,
  )
}

/** Postgres wants its data to be its user's alone; copied or unpacked by root it is root's. */
async function giveTo(owner: Owner, folder: string): Promise<void> {
  const { uid, mode } = await stat(folder)
  if (uid !== owner.uid) {
    await chown(folder, owner.uid, owner.gid)
    await run('chown', ['-R', `${owner.uid}:${owner.gid}`, folder], { timeoutMs: COPY_TIMEOUT_MS })
  }
  if ((mode & 0o077) !== 0) await chmod(folder, 0o700)
}

/**
 * Makes sure that no Postgres runs on this data. A note of one that ended without removing it is removed when its
 * number has gone to another program since, which Postgres itself might take for a running server.
 * @throws SetupError ALREADY_RUNNING with the process number
 */
export async function assertNotRunning(dataDir: string): Promise<void> {
  const file = join(dataDir, 'postmaster.pid')
  const pid = Number((await readFile(file, 'utf8').catch(() => '')).split('\n')[0])
  if (!Number.isInteger(pid) || pid <= 0) return
  if (!commandOf(pid).includes(dataDir)) return rm(file, { force: true })
  throw new SetupError(
    'ALREADY_RUNNING',
    `A Postgres (process ${pid}) runs on ${dataDir} already. Stop it first: kill ${pid}`,
  )
}

/**
 * Whether the data was made by this major version of Postgres.
 * @returns false when there is no data yet
 * @throws SetupError OTHER_VERSION when it is another's, START_FAILED when the folder holds something else
 */
export async function hasDataOf(major: string, dataDir: string): Promise<boolean> {
  const found = (await readFile(join(dataDir, 'PG_VERSION'), 'utf8').catch(() => '')).trim()
  if (found === major) return true
  if (found !== '') {
    throw new SetupError(
      'OTHER_VERSION',
      `${dataDir} holds data of Postgres ${found}, and this is Postgres ${major}. ` +
        'Delete it to begin anew, or set DATA_DIR to another folder (pg_dump with the old version keeps the data).',
    )
  }
  const entries = await readdir(dataDir)
  if (entries.length === 0) return false
  throw new SetupError(
    'START_FAILED',
    `${dataDir} is not empty and holds no Postgres data. Set DATA_DIR to another folder.`,
  )
}
