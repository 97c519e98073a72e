export type SetupErrorCode =
  | 'ABORTED'
  | 'ALREADY_RUNNING'
  | 'BINARY_MISSING'
  | 'NOT_PERMITTED'
  | 'OTHER_VERSION'
  | 'PORT_TAKEN'
  | 'START_FAILED'
  | 'TIMED_OUT'
  | 'WRONG_SETTING'

/** A failure that the person at the terminal can act on: print `message` (a few plain lines) and no stack. */
export class SetupError extends Error {
  override name = 'SetupError'
  readonly code: SetupErrorCode
  constructor(code: SetupErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/**
 * The message of anything that was thrown, for a person. An AggregateError (a refused connection to a name with
 * several addresses) has an empty one of its own, and that of `fetch` says only that it failed.
 */
export function plainMessage(error: unknown): string {
  if (error instanceof AggregateError && error.message === '')
    return error.errors.map(plainMessage).join('; ')
  if (error instanceof TypeError && error.message === 'fetch failed') return plainMessage(error.cause)
  if (error instanceof Error) return error.message || error.name
  return String(error)
}

/** Throws the ABORTED error when the signal says that the caller no longer wants the result. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SetupError('ABORTED', 'interrupted')
}

/** Gives what `work` gives, or throws the ABORTED error as soon as the signal says that nobody wants it any more. */
export async function unlessAborted<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const interrupt = () => reject(new SetupError('ABORTED', 'interrupted'))
  if (signal.aborted) interrupt()
  signal.addEventListener('abort', interrupt)
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', interrupt)
  }
}
