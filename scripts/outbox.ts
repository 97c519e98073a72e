/** `npm run outbox -- …`: what has not reached the data platform, and how to have it sent again. */
import { parseArgs } from 'node:util'
import { openDatabase } from '../src/db/client.ts'
import { isDatabaseUnavailable } from '../src/db/failure.ts'
import { listParked, readBacklog, replayParked } from '../src/outbox/backlog.ts'
import { plainMessage } from './embedded/setup-error.ts'
import { findStores } from './start/stores.ts'

const HELP = `Usage: npm run outbox -- <command> [options]

  status                   what waits for the data platform, for how long, and what is parked
  list [--limit N]         parked events, oldest first (default 100, at most 10000)
  replay --order ID        have the parked events of an order sent again,
  replay --event ID        or one parked event,
  replay --all             or all of them

  --json                   print JSON
  --help                   print this

An event is parked after OUTBOX_MAX_ATTEMPTS tries; later events of its order wait behind it.
DATABASE_URL names the database; unset, that of npm start is used.
Exit code: 0 done, 1 failed or nothing of that kind is parked, 2 wrong usage or the database is out of reach.`
const MAX_LIMIT = 10_000
const TIMEOUT_MS = 30_000
const UUID = /^[\da-f]{8}-([\da-f]{4}-){3}[\da-f]{12}$/i

class UsageError extends Error {}

type Options = {
  limit?: string | undefined
  order?: string | undefined
  event?: string | undefined
  all?: boolean | undefined
  json?: boolean | undefined
  help?: boolean | undefined
}
type Db = ReturnType<typeof openDatabase>['db']
/** What a command has to say, in both forms, and its exit code. */
type Result = { json: unknown; text: string; code?: number }
type Command = (db: Db) => Promise<Result>

function readArguments(args: string[]): { command: string | undefined; options: Options } {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        limit: { type: 'string' },
        order: { type: 'string' },
        event: { type: 'string' },
        all: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
    if (positionals.length > 1)
      throw new UsageError(`There is one command at a time: ${positionals.join(' ')}`)
    return { command: positionals[0], options: values }
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(plainMessage(error))
  }
}

/** The command, its options checked, before anything is connected to. */
function commandOf(name: string | undefined, options: Options): Command {
  const { limit, order, event, all } = options
  const refuse = (...given: (keyof Options)[]) => {
    const odd = given.find((option) => options[option] !== undefined)
    if (odd) throw new UsageError(`--${odd} does not go with ${name}.`)
  }
  switch (name) {
    case 'status':
      refuse('limit', 'order', 'event', 'all')
      return status
    case 'list': {
      refuse('order', 'event', 'all')
      const most = Number(limit ?? 100)
      if (!Number.isInteger(most) || most < 1 || most > MAX_LIMIT) {
        throw new UsageError(`--limit must be a whole number from 1 to ${MAX_LIMIT}.`)
      }
      return (db) => list(db, most)
    }
    case 'replay': {
      refuse('limit')
      if ([order, event, all].filter((given) => given !== undefined).length !== 1) {
        throw new UsageError('replay needs one of --order ID, --event ID and --all.')
      }
      for (const id of [order, event]) {
        if (id !== undefined && !UUID.test(id))
          throw new UsageError(`${id} is not the id of an order or event.`)
      }
      if (order) return (db) => replay(db, { orderId: order })
      return (db) => replay(db, event ? { eventId: event } : 'all')
    }
    case undefined:
      throw new UsageError('A command is missing.')
    default:
      throw new UsageError(`There is no command ${name}.`)
  }
}

async function status(db: Db): Promise<Result> {
  const backlog = await readBacklog(db, Date.now())
  const { pending, parked, oldestAt, lagMs } = backlog
  const since = oldestAt === null ? '' : `, the oldest since ${oldestAt.toISOString()} (${duration(lagMs)})`
  const remedy = parked === 0 ? '' : ': see list, then replay'
  return {
    json: backlog,
    text: `pending  ${pending}${since}\nparked   ${parked}${remedy}`,
  }
}

async function list(db: Db, limit: number): Promise<Result> {
  const events = await listParked(db, limit)
  const lines = events.map(
    ({ eventId, type, orderId, parkedAt, attempts, lastError }) =>
      `${eventId}  ${type.padEnd(14)}  order ${orderId}  parked ${parkedAt.toISOString()} after ${attempts} tries: ${lastError}`,
  )
  if (events.length === limit) lines.push(`(${limit} shown; --limit shows more)`)
  return { json: { items: events }, text: lines.join('\n') || 'nothing is parked' }
}

async function replay(db: Db, which: Parameters<typeof replayParked>[1]): Promise<Result> {
  const replayed = await replayParked(db, which, Date.now())
  if (replayed > 0 || which === 'all') return { json: { replayed }, text: `replayed ${replayed}` }
  const what = 'orderId' in which ? `No event of order ${which.orderId}` : `No event ${which.eventId}`
  return { json: { replayed }, text: `${what} is parked.`, code: 1 }
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}

/**
 * Runs the tool.
 * @param args what follows the name of the program
 * @param output where its lines go
 * @returns the exit code; what went wrong has been printed
 */
export async function runTool(
  args: string[],
  databaseUrl: string | undefined,
  output: { print(text: string): void; complain(text: string): void } = {
    print: console.log,
    complain: console.error,
  },
): Promise<number> {
  try {
    const { command, options } = readArguments(args)
    if (options.help) {
      output.print(HELP)
      return 0
    }
    const run = commandOf(command, options)
    if (!databaseUrl) {
      throw new UsageError('DATABASE_URL is not set, and npm start has left no database to use.')
    }
    const { json, text, code = 0 } = await connected(databaseUrl, run)
    if (options.json) output.print(JSON.stringify(json, null, 2))
    else if (code === 0) output.print(text)
    else output.complain(text)
    return code
  } catch (error) {
    if (error instanceof UsageError) {
      output.complain(`${error.message}\n\n${HELP}`)
      return 2
    }
    // Drizzle tells the statement; what went wrong is behind it.
    const reason = error instanceof Error && error.cause ? error.cause : error
    output.complain(`outbox: ${plainMessage(reason)}`)
    return isDatabaseUnavailable(reason) ? 2 : 1
  }
}

async function connected(url: string, run: Command): Promise<Result> {
  const database = openDatabase({
    url,
    pool: 1,
    timeoutMs: TIMEOUT_MS,
    applicationName: 'seonchak outbox tool',
  })
  try {
    return await run(database.db)
  } finally {
    await database.close()
  }
}

if (import.meta.main) {
  const { DATABASE_URL } = await findStores(process.env)
  process.exitCode = await runTool(process.argv.slice(2), DATABASE_URL)
}
