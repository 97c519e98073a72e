import { commandOf, parentOf } from '../embedded/os-process.ts'

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']
/** npm passes on the Ctrl-C that the terminal has sent to us as well: both are one wish. */
const SAME_WISH_MS = 700
const PARENT_POLL_MS = 500

export type End = {
  /** aborts when the end is asked for or something died */
  readonly signal: AbortSignal
  /** aborts when the end is asked for once more */
  readonly hurry: AbortSignal
  /** resolves when `signal` aborts */
  readonly reached: Promise<void>
  /** what died and made this the end; undefined when a signal did */
  readonly death: string | undefined
  /** Reports that a part of the whole has ended. Ignored once the end is under way: then it is meant to. */
  died(what: string): void
  /** From here on the parts are being stopped, also when it was a failure that ended the start. */
  stopping(): void
}

/**
 * Listens for whatever ends `npm start`: a signal, the end of npm itself, an error that nobody expected. It goes on
 * listening to the last, so that no signal cuts the orderly stop short; a second one only hurries it.
 * @param env tells whether npm is the parent
 * @param say gets a line when the stop begins
 */
export function listenForEnd(env: NodeJS.ProcessEnv, say: (line: string) => void): End {
  const end = new AbortController()
  const hurry = new AbortController()
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  let death: string | undefined
  let askedAt: number | undefined

  const finish = () => {
    end.abort()
    resolve()
  }
  const ask = () => {
    if (askedAt === undefined) {
      askedAt = performance.now()
      say('\nstopping; once more to hurry')
      finish()
    } else if (performance.now() - askedAt > SAME_WISH_MS) hurry.abort()
  }
  const died = (what: string) => {
    if (end.signal.aborted) return
    death = what
    finish()
  }

  for (const signal of SIGNALS) process.on(signal, ask)
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => died(error instanceof Error ? error.message : String(error)))
  }
  // A terminal that was closed, or a reader like `head` that has left, is no reason to leave anything running.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  if (env.npm_lifecycle_event !== undefined) {
    const npmIsThere = watchNpm()
    setInterval(() => askedAt === undefined && !npmIsThere() && ask(), PARENT_POLL_MS).unref()
  }

  return {
    signal: end.signal,
    hurry: hurry.signal,
    reached,
    get death() {
      return death
    },
    died,
    stopping: finish,
  }
}

/**
 * npm passes on SIGINT and SIGTERM, but not its own death by another signal, and what it passes on may end at the
 * shell that it runs a script by. Without npm, losing the parent is normal: that is how a background job goes on
 * after its shell.
 * @returns a function that tells whether npm, and the shell between if there is one, are still there
 */
function watchNpm(): () => boolean {
  const parent = process.ppid
  const shell = !commandOf(parent).startsWith('npm')
  const npm = shell ? parentOf(parent) : undefined
  return () => process.ppid === parent && (!shell || parentOf(parent) === npm)
}
