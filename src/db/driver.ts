import postgres from 'postgres'
import { Unavailable } from '../errors.ts'
import { type Lane, type Lanes, lose, within } from './lanes.ts'

/** First and longest pause in which no new connection is tried after one that failed, ms. */
const firstPauseMs = 50
const longestPauseMs = 1000

const asItIs = (value: unknown) => value

/** What Drizzle reads and writes as text by itself, for the types of a connection: dates and times, and JSON on its way in. */
export const drizzleTypes = {
  date: {
    to: 1184,
    from: [1082, 1083, 1114, 1115, 1182, 1184, 1185, 1231],
    serialize: asItIs,
    parse: asItIs,
  },
  json: { to: 114, from: [114, 3802], serialize: asItIs, parse: JSON.parse },
}

type Rows = postgres.RowList<postgres.Row[]>

/** What Drizzle calls on a client: the statement runs when it is awaited, its rows as objects or, with `values`, as lists. */
interface Executor {
  unsafe(text: string, params?: unknown[], options?: object): PromiseLike<Rows> & { values(): Promise<Rows> }
}

/**
 * Makes the client that Drizzle runs statements with, over lanes: each statement or transaction has one to itself.
 * @param timeoutMs for a connection to be made, and for a statement
 * @param statementMs for a statement of a transaction, where it is to have longer
 */
export function createDriver(lanes: Lanes, timeoutMs: number, statementMs = timeoutMs): postgres.Sql {
  const reach = createReach()

  function ask(lane: Lane, text: string, params: unknown[], options: object, isRaw: boolean): Promise<Rows> {
    return within(lane, timeoutMs + statementMs, () =>
      reach(lane, async () => {
        const query = lane.client.unsafe(text, params as never[], options)
        lane.given.push(query)
        return isRaw ? ((await query.values()) as unknown as Rows) : await query
      }),
    )
  }

  function executor(run: (job: (lane: Lane) => Promise<Rows>) => Promise<Rows>): Executor {
    return {
      unsafe(text, params = [], options = {}) {
        const give = (isRaw: boolean) => run((lane) => ask(lane, text, params, options, isRaw))
        // biome-ignore lint/suspicious/noThenProperty: a statement of the client is awaited, and runs when it is
        return { values: () => give(true), then: (resolve, reject) => give(false).then(resolve, reject) }
      },
    }
  }

  /** What the client calls so. Each of its statements has a deadline, not the whole. */
  function begin<Result>(body: (executor: Executor) => Promise<Result>): Promise<Result> {
    return lanes.use(async (lane) => {
      const command = (text: string) => ask(lane, text, [], {}, false)
      await command('begin')
      try {
        if (statementMs !== timeoutMs) await command(`set local statement_timeout = ${statementMs}`)
        const result = await body(executor((job) => job(lane)))
        await command('commit')
        return result
      } catch (error) {
        if (!lane.broken) await command('rollback').catch(() => lose(lane))
        throw error
      }
    })
  }

  const options = { parsers: {}, serializers: {} }
  return { ...executor(lanes.use), begin, options } as unknown as postgres.Sql
}

/**
 * Makes the function that sends a statement on a lane and judges what comes of it: only one that the server answered
 * leaves the lane as it was. While no connection can be made, one try every now and then is enough.
 */
function createReach() {
  let failures = 0
  let retryAt = 0

  return async function reach(lane: Lane, send: () => Promise<Rows>): Promise<Rows> {
    if (lane.broken) throw new Unavailable('the connection was lost')
    if (!lane.open && performance.now() < retryAt)
      throw new Unavailable('a moment ago Postgres was not there')
    try {
      const rows = await send()
      stand(lane)
      return rows
    } catch (error) {
      if (isAnswer(error)) {
        stand(lane)
        throw error
      }
      if (!lane.open) {
        retryAt = performance.now() + Math.min(firstPauseMs * 2 ** failures, longestPauseMs)
        failures++
      }
      lose(lane)
      throw error
    }
  }

  function stand(lane: Lane): void {
    lane.open = true
    failures = 0
  }
}

/** Whether the server refused a statement, and not the connection. */
function isAnswer(error: unknown): boolean {
  return error instanceof postgres.PostgresError && error.severity === 'ERROR'
}
