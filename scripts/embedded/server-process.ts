import { spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { childrenOf, type Owner, sendSignal } from './os-process.ts'
import { SetupError } from './setup-error.ts'

const LOG_KEPT_BYTES = 20 * 1024 * 1024

/** How a process ended: its exit code, or the signal that ended it. */
export type Exit = number | NodeJS.Signals

export type ServerProcess = {
  readonly pid: number
  readonly logFile: string
  /** resolves when the process has ended, for whatever reason; never rejects */
  readonly exited: Promise<Exit>
  /** set once the process has ended */
  readonly exit: Exit | undefined
  /** The last lines that this start of the server wrote, for an error message; JSON is reduced to its message. */
  tail(lines?: number): string
  /**
   * Sends `signal` and waits for the end. After `graceMs`, or one second after `hurry` aborts, the process, its
   * children and its group get SIGKILL. Returns at once when the process has ended already.
   */
  end(signal: NodeJS.Signals, graceMs: number, hurry?: AbortSignal): Promise<void>
  /** Sends the signal, SIGKILL to the children as well, and waits for the end, at most 10 s. */
  kill(signal: NodeJS.Signals): Promise<void>
}

/**
 * Starts a server in a process group of its own, so that a Ctrl-C in the terminal reaches only this program, which
 * then stops its servers in the right order. What the server prints is appended to `logFile`.
 * @throws SetupError BINARY_MISSING when the program cannot be run
 */
export async function spawnServer(options: {
  command: string
  /** the name that the program sees itself called by, when it is not that of its file */
  calledAs?: string | undefined
  args: readonly string[]
  env: NodeJS.ProcessEnv
  cwd: string
  owner?: Owner | undefined
  logFile: string
}): Promise<ServerProcess> {
  const { command, calledAs, args, env, cwd, owner, logFile } = options
  const log = openLog(logFile)
  const logStart = fstatSync(log).size
  const child = spawn(command, args, {
    cwd,
    env,
    ...owner,
    argv0: calledAs,
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  let exit: Exit | undefined
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      exit = code ?? signal ?? 'SIGKILL'
      resolve(exit)
    })
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (error) => {
      reject(new SetupError('BINARY_MISSING', `${command} cannot be run: ${error.message}`))
    })
  })
  const pid = child.pid as number
  // An error after the start comes from a signal that could not be sent; the wait for the end tells its outcome.
  child.on('error', () => undefined)

  /** With the children listed first: they change their parent when it ends. */
  const killAll = () => {
    const children = childrenOf(pid)
    sendSignal(pid, 'SIGKILL')
    for (const one of [...children, -pid]) sendSignal(one, 'SIGKILL')
  }

  return {
    pid,
    logFile,
    exited,
    get exit() {
      return exit
    },
    tail: (lines = 6) => {
      const text = readFileSync(logFile).subarray(logStart).toString('utf8').trim()
      return text.split('\n').slice(-lines).map(plainLine).filter(Boolean).join('\n')
    },
    async end(signal, graceMs, hurry) {
      if (exit !== undefined) return
      sendSignal(pid, signal)
      await settledWithin(exited, graceMs, hurry)
      if (exit !== undefined) return
      killAll()
      await settledWithin(exited, 5000)
    },
    async kill(signal) {
      if (exit !== undefined) return
      if (signal === 'SIGKILL') killAll()
      else sendSignal(pid, signal)
      await settledWithin(exited, 10_000)
    },
  }
}

/** Waits for the promise, at most `ms`, and at most one second after `hurry`. */
async function settledWithin(promise: Promise<unknown>, ms: number, hurry?: AbortSignal): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timers = [setTimeout(resolve, ms)]
  const onHurry = () => timers.push(setTimeout(resolve, Math.min(1000, ms)))
  if (hurry?.aborted) onHurry()
  else hurry?.addEventListener('abort', onHurry, { once: true })
  await Promise.race([promise, late])
  hurry?.removeEventListener('abort', onHurry)
  timers.forEach(clearTimeout)
}

/** Opens the log to append to it; one that has grown large is kept once under the name with `.1`. */
function openLog(logFile: string): number {
  if ((statSync(logFile, { throwIfNoEntry: false })?.size ?? 0) > LOG_KEPT_BYTES) {
    renameSync(logFile, `${logFile}.1`)
  }
  return openSync(logFile, 'a', 0o600)
}

function plainLine(line: string): string {
  if (!line.startsWith('{')) return `  ${line.slice(0, 300)}`
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } }
    return `  ${[...new Set([msg, err?.message].filter(Boolean))].join(': ').slice(0, 300)}`
  } catch {
    return `  ${line.slice(0, 300)}`
  }
}
