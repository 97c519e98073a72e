import { renameSync, writeFileSync } from 'node:fs'
import { link, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { endProcess, holdsWithin, identityOf } from '../embedded/os-process.ts'
import { SetupError } from '../embedded/setup-error.ts'

const STOP_TIMEOUT_MS = 15_000

type Part = 'service' | 'data platform' | 'redis' | 'postgres'
type Noted = { pid: number; identity: string }
type Run = { start: Noted; stopping?: boolean } & Partial<Record<Part, Noted>>

/** In the order in which they are to be stopped: whoever uses a store goes before the store. */
const STOP_WITH: readonly [Part, NodeJS.Signals][] = [
  ['service', 'SIGTERM'],
  ['data platform', 'SIGTERM'],
  ['redis', 'SIGTERM'],
  ['postgres', 'SIGINT'],
]

export type RunRecord = {
  /** Adds a process as soon as it exists, so that a start which is killed right after leaves its number behind. */
  note(part: Part, pid: number): void
  /** Says that the end has begun, for the next start to wait for it. */
  stopping(): void
  /** Removes the record, once everything in it has ended. */
  release(): Promise<void>
}

/**
 * Claims the data directory for this process by the file `run.json` in it, which lists what runs on it. What an
 * earlier start left running because it was killed is stopped first, after saying so.
 * @throws SetupError ALREADY_RUNNING when an earlier start is still there
 */
export async function claimRun(dataDir: string, log: (line: string) => void): Promise<RunRecord> {
  const file = join(dataDir, 'run.json')
  const draft = `${file}.${process.pid}`
  const run: Run = { start: noted(process.pid) }
  const write = () => writeFileSync(draft, JSON.stringify(run), { mode: 0o600 })
  const add = (more: Partial<Run>) => {
    Object.assign(run, more)
    write()
    renameSync(draft, file)
  }
  write()
  try {
    while (!(await created(draft, file))) await clearAway(file, log)
  } finally {
    await rm(draft, { force: true })
  }
  return {
    note: (part, pid) => add({ [part]: noted(pid) }),
    stopping: () => add({ stopping: true }),
    release: () => rm(file, { force: true }),
  }
}

function noted(pid: number): Noted {
  return { pid, identity: identityOf(pid) ?? '' }
}

/** A link comes into being complete or not at all, so of two that start at once one gets it. */
async function created(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function clearAway(file: string, log: (line: string) => void): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return // its owner has just ended
  const run = parse(text)
  if (run?.stopping && isAlive(run.start)) {
    log('an earlier start is still stopping: waiting for it')
    // Gone by then, or looked at again: its record may have gone with it.
    if (await holdsWithin(2 * STOP_TIMEOUT_MS, () => !isAlive(run.start))) return
  }
  if (run && isAlive(run.start)) {
    throw new SetupError(
      'ALREADY_RUNNING',
      `An earlier start (process ${run.start.pid}) is still running on this data. Stop it first (Ctrl-C there, or ` +
        `kill ${run.start.pid}), or set DATA_DIR and PORT to run a second one.`,
    )
  }
  for (const [part, signal] of STOP_WITH) {
    const left = run?.[part]
    if (!left || !isAlive(left)) continue
    log(`an earlier start was killed and left its ${part} running (process ${left.pid}): stopping it`)
    await endProcess(left.pid, left.identity, signal, STOP_TIMEOUT_MS)
  }
  await removeIfUnchanged(file, text)
}

/** Another start may have done the same meanwhile and put its own record there, which must stay. */
async function removeIfUnchanged(file: string, text: string): Promise<void> {
  const aside = `${file}.old.${process.pid}`
  try {
    await rename(file, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if ((await readFile(aside, 'utf8')) !== text) await created(aside, file)
  await rm(aside, { force: true })
}

function isAlive({ pid, identity }: Noted): boolean {
  return identity !== '' && identityOf(pid) === identity
}

/** A record that a power cut left empty or cut short names nothing that could still run. */
function parse(text: string): Run | undefined {
  try {
    return JSON.parse(text) as Run
  } catch {
    return undefined
  }
}
