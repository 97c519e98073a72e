import { type DestinationStream, type Logger, pino, stdSerializers } from 'pino'

/**
 * Makes the log of the program, on standard output unless told otherwise. Errors of stores lose what a driver hangs on them of its call: the arguments of a
 * Redis AUTH are the password.
 */
export function createLog(level: string, destination?: DestinationStream): Logger {
  return pino({ level, base: { name: 'seonchak' }, serializers: { err: describeError } }, destination)
}

/** Members of an error that are worth a line; everything else that was hung on it stays out of the log. */
const telling = ['code', 'errno', 'syscall', 'severity', 'constraint_name', 'table_name', 'status', 'faults']

/** An error as it is logged: type, message and stack, with its causes in both, and the members that tell something. */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { type, message, stack } = stdSerializers.err(error)
  const members = telling.flatMap((name) => {
    const value: unknown = Reflect.get(error, name)
    return value === undefined ? [] : [[name, value]]
  })
  return { type, message, stack, ...Object.fromEntries(members) }
}
