import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { SetupError } from './setup-error.ts'

const POLL_MS = 25

/** Who a process runs as; undefined stands for the user of this process. */
export type Owner = { uid: number; gid: number }

type Stat = { parent: number; state: string; startedAt: string }

/** Linux tells it in /proc; there, fields follow the command's name, which may itself hold brackets and blanks. */
function readStat(pid: number): Stat | undefined {
  if (process.platform === 'linux') {
    try {
      const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const [state = '', parent = '', ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ')
      return { parent: Number(parent), state, startedAt: rest[17] ?? '' }
    } catch {
      return undefined // no such process
    }
  }
  const listed = spawnSync('ps', ['-o', 'ppid=,stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' })
  const [parent, state, ...started] = (listed.stdout ?? '').trim().split(/\s+/)
  return state ? { parent: Number(parent), state, startedAt: started.join(' ') } : undefined
}

/**
 * What tells a process from any other that has or will have its number: when it began, and in which boot.
 * @returns undefined when no such process runs; one that has ended and was not yet reaped does not run
 */
export function identityOf(pid: number): string | undefined {
  const stat = readStat(pid)
  if (stat === undefined || stat.state.startsWith('Z') || stat.state.startsWith('X')) return undefined
  let boot = ''
  try {
    boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    // Only Linux has it. Elsewhere the start time is a calendar time, which is enough.
  }
  return `${boot} ${stat.startedAt}`.trim()
}

/** The command line of a running process, its arguments separated by blanks; empty when there is none. */
export function commandOf(pid: number): string {
  if (process.platform !== 'linux') {
    return (spawnSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? '').trim()
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
  } catch {
    return '' // no such process
  }
}

/** The process number of the parent; undefined when there is no such process. */
export function parentOf(pid: number): number | undefined {
  return readStat(pid)?.parent
}

/** The process numbers of the direct children of a process. */
export function childrenOf(pid: number): number[] {
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((candidate) => readStat(candidate)?.parent === pid)
  }
  const listed = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' }).stdout ?? ''
  return listed.split('\n').filter(Boolean).map(Number)
}

/** Sends the signal; a process (or, with a negative number, a group) that is already gone is no error. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Waits until `condition` holds, looking every 25 ms; gives whether it did within `deadlineMs`. */
export async function holdsWithin(
  deadlineMs: number,
  condition: () => boolean,
  signal?: AbortSignal,
): Promise<boolean> {
  const end = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() >= end || signal?.aborted) return false
    await delay(POLL_MS)
  }
  return true
}

/**
 * Ends a process that is not our child: the signal first, and when `graceMs` did not do, SIGKILL for it and its
 * group. Does nothing when the number belongs to another process by now.
 */
export async function endProcess(
  pid: number,
  identity: string,
  signal: NodeJS.Signals,
  graceMs: number,
): Promise<void> {
  const gone = () => identityOf(pid) !== identity
  if (gone()) return
  sendSignal(pid, signal)
  if (await holdsWithin(graceMs, gone)) return
  sendSignal(-pid, 'SIGKILL')
  sendSignal(pid, 'SIGKILL')
  await holdsWithin(5000, gone)
}

export type RunOptions = {
  timeoutMs: number
  /** the name that the program sees itself called by, when it is not that of its file */
  calledAs?: string | undefined
  owner?: Owner | undefined
  env?: NodeJS.ProcessEnv | undefined
  signal?: AbortSignal | undefined
}

/**
 * Runs a program to its end, in a group of its own so that a terminal's Ctrl-C does not reach it in the middle.
 * @returns its exit code (or the signal that ended it) and what it printed on both channels
 * @throws SetupError BINARY_MISSING when it cannot be run, TIMED_OUT and ABORTED after ending it and its children
 */
export async function run(
  command: string,
  args: readonly string[],
  { timeoutMs, calledAs, owner, env, signal }: RunOptions,
): Promise<{ code: number | NodeJS.Signals; output: string }> {
  const child = spawn(command, args, {
    cwd: '/',
    env,
    ...owner,
    argv0: calledAs,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output: string[] = []
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part) => output.push(part))
  const ended = new Promise<number | NodeJS.Signals | SetupError>((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EPERM' || error.code === 'EACCES' ? 'NOT_PERMITTED' : 'BINARY_MISSING'
      resolve(
        new SetupError(code, `${command} cannot be run${owner ? ' as another user' : ''}: ${error.message}`),
      )
    })
    child.once('close', (code, by) => resolve(code ?? by ?? 'SIGKILL'))
  })
  const stop = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])])
  const end = () => {
    const { pid } = child
    if (pid === undefined) return
    sendSignal(-pid, 'SIGTERM')
    const kill = setTimeout(sendSignal, 5000, -pid, 'SIGKILL')
    child.once('close', () => clearTimeout(kill))
  }
  stop.addEventListener('abort', end, { once: true })
  if (stop.aborted) end()
  const code = await ended
  stop.removeEventListener('abort', end)
  if (code instanceof SetupError) throw code
  if (signal?.aborted) throw new SetupError('ABORTED', 'interrupted')
  const text = output.join('')
  if (stop.aborted) {
    throw new SetupError(
      'TIMED_OUT',
      `${command} did not end within ${timeoutMs / 1000} s: ${text.slice(-500)}`,
    )
  }
  return { code, output: text }
}
