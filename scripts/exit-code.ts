import { plainMessage } from './embedded/setup-error.ts'

/** The command line is wrong: the help follows. */
export class UsageError extends Error {}
/** A store is not named or not there, or a setting does not fit what it holds. */
export class UnreachableError extends Error {}

/** Drizzle tells the statement; what went wrong is behind it. */
export function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause ? error.cause : error
}

/**
 * Runs the body of a tool and gives its exit code: what it returns, 2 for a wrong command line (the help follows) or
 * stores that are out of reach, 1 for anything else.
 */
export async function exitCodeOf(name: string, help: string, run: () => Promise<number>): Promise<number> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof UsageError) console.error(`${error.message}\n\n${help}`)
    else console.error(`${name}: ${plainMessage(causeOf(error))}`)
    return error instanceof UsageError || error instanceof UnreachableError ? 2 : 1
  }
}
