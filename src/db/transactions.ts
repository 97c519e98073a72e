import postgres from 'postgres'
import { Unavailable } from '../errors.ts'
import { connectionOptions } from './client.ts'
import { classifyFailure, NotCommitted } from './failure.ts'
import { type Lane, lose, openLanes, within } from './lanes.ts'
import type { Statement } from './statement.ts'

/** A transaction under way. All its statements go over one connection, in the order of the calls. */
export interface Transaction {
  /** Runs a statement and gives its rows. Not awaiting it before the next call sends both at once. */
  read<Params extends Record<string, unknown>, Row>(
    statement: Statement<Params, Row>,
    params: Params,
  ): Promise<Row[]>
  /** Sends a statement whose rows do not matter. It travels together with the COMMIT, which fails if it fails. */
  write<Params extends Record<string, unknown>>(statement: Statement<Params, unknown>, params: Params): void
}

export interface Transactions {
  /**
   * Runs `body` between BEGIN and COMMIT and gives its result once that is durable. Throws what Postgres answered, or
   * Unavailable on a lost connection or a passed deadline; NotCommitted when that was before COMMIT was sent.
   */
  run<Result>(body: (tx: Transaction) => Promise<Result>): Promise<Result>
  /** Transactions waiting for a lane, and lanes in use. */
  stats(): { waiting: number; busy: number }
  close(): Promise<void>
}

export interface TransactionsSettings {
  url: string
  /** connections, so transactions at once */
  lanes: number
  /** callers that may wait for a lane */
  maxWaiting: number
  /** deadline of one transaction, ms */
  timeoutMs: number
  applicationName: string
  /** age at which plans are made anew, ms */
  replanAfterMs?: number
  /** hears of each transaction that got a lane, when it has ended */
  onEnd?: (timing: { waitMs: number; runMs: number; committed: boolean }) => void
}

/**
 * A plan is kept for as long as its connection, and is made for the table as it was then. Of one that was nearly empty, all
 * indexes cost the same, and Postgres may take one that reads every coupon of a policy for each user: in the first
 * seconds of a sale, until autovacuum comes by, that made it five times slower.
 */
const defaultReplanAfterMs = 500

/**
 * Opens the connections that carry transactions. A lane belongs to one transaction at a time, so that nothing of it can
 * go over another connection, as `begin()` of the client may do under back-pressure (porsager/postgres 1189). It also
 * saves two round trips: BEGIN travels with the first statements, COMMIT with the last.
 */
export function openTransactions(settings: TransactionsSettings): Transactions {
  const common = connectionOptions(settings.timeoutMs, settings.applicationName)
  // Each statement of a transaction finds its rows by an index. Without statistics (a new table that grows by the
  // thousand a second) Postgres would rather read the whole table for each batch: four times the CPU time. So there is
  // one plan, and nothing to be gained by planning anew for the parameters of each batch.
  const byIndex = {
    enable_seqscan: 'off',
    enable_hashjoin: 'off',
    enable_mergejoin: 'off',
    plan_cache_mode: 'force_generic_plan',
  }
  const { url, lanes: count, maxWaiting, timeoutMs, replanAfterMs = defaultReplanAfterMs } = settings
  const lanes = openLanes({
    url,
    lanes: count,
    maxWaiting,
    // Whoever is next gets the lane of one that passed its deadline.
    maxWaitMs: 2 * timeoutMs,
    connection: { ...common, connection: { ...common.connection, ...byIndex } },
  })

  async function run<Result>(body: (tx: Transaction) => Promise<Result>): Promise<Result> {
    const askedAt = performance.now()
    return lanes.use(async (lane) => {
      const startedAt = performance.now()
      let committed = false
      try {
        const isStale = startedAt - lane.plannedAt > replanAfterMs
        if (isStale) lane.plannedAt = startedAt
        const result = await within(lane, timeoutMs, () => transact(lane, body, isStale))
        committed = true
        return result
      } finally {
        const waitMs = startedAt - askedAt
        settings.onEnd?.({ waitMs, runMs: performance.now() - startedAt, committed })
      }
    })
  }

  return { run, stats: lanes.stats, close: lanes.close }
}

async function transact<Result>(
  lane: Lane,
  body: (tx: Transaction) => Promise<Result>,
  isStale: boolean,
): Promise<Result> {
  const { client } = lane
  const sent: Promise<unknown>[] = []

  function send(
    text: string,
    params: unknown[],
    prepare: boolean,
  ): Promise<postgres.RowList<postgres.Row[]>> {
    const answer = give(text, params, prepare)
    // Every failure is looked at below; until then it must not count as unhandled.
    answer.catch(() => undefined)
    sent.push(answer)
    return answer
  }

  async function give(text: string, params: unknown[], prepare: boolean) {
    if (lane.broken) throw new Unavailable('the connection was lost in a transaction')
    const query = client.unsafe(text, params as never[], { prepare })
    lane.given.push(query)
    try {
      return await query
    } catch (error) {
      if (error instanceof postgres.PostgresError) throw error
      lose(lane)
      throw new Unavailable('the connection was lost in a transaction', { cause: error })
    }
  }

  const begun = send(isStale ? 'discard plans; begin' : 'begin', [], false)
  begun.catch(() => lose(lane))
  let isOver = false
  function sendInBody(statement: Statement<never, unknown>, params: Record<string, unknown>) {
    // A body that failed may have left work behind, which would reach the transaction of somebody else.
    if (isOver) throw new Error('The transaction is over')
    const values = statement.bind(params as never)
    // The client stumbles over this too late: COMMIT would go through without the statement.
    if (values.includes(undefined)) throw new TypeError(`a parameter is undefined: ${statement.text}`)
    return send(statement.text, values, true)
  }

  let result: Result
  try {
    // A client that fails to connect tries again for what stands behind BEGIN, which would then run outside of a
    // transaction. So the first transaction of a connection waits for its BEGIN; later ones know that it is up.
    if (!lane.open) await begun
    lane.open = true
    result = await body({
      read: (statement, params) => sendInBody(statement, params) as never,
      write: (statement, params) => void sendInBody(statement, params),
    }).finally(() => {
      isOver = true
    })
  } catch (error) {
    if (!lane.broken) await send('rollback', [], false).catch(() => undefined)
    const answers = await Promise.allSettled(sent)
    // After a failed `write` Postgres refuses what follows; the reason is what failed first.
    const failed = answers.find((answer) => answer.status === 'rejected')
    const reason = failed && isRefusedAfterFailure(error) ? failed.reason : error
    if (classifyFailure(reason) !== 'unknown') throw reason
    throw reason instanceof Unavailable
      ? new NotCommitted(reason.message, { cause: reason.cause })
      : new NotCommitted('the transaction broke off before its COMMIT', { cause: reason })
  }
  const committed = send('commit', [], false)
  const answers = await Promise.allSettled(sent)
  const failed = answers.slice(0, -1).find((answer) => answer.status === 'rejected')
  if (failed) throw rolledBack(failed.reason)
  // COMMIT of a failed transaction succeeds as a ROLLBACK.
  if ((await committed).command !== 'COMMIT') throw new Error('The transaction was rolled back')
  return result
}

/** What the server answered to a statement before COMMIT, such as a deadline on its side: COMMIT then does nothing. */
function rolledBack(reason: unknown): unknown {
  return reason instanceof postgres.PostgresError && classifyFailure(reason) === 'unknown'
    ? new NotCommitted('a statement before COMMIT was refused', { cause: reason })
    : reason
}

function isRefusedAfterFailure(error: unknown): boolean {
  return error instanceof postgres.PostgresError && error.code === '25P02'
}
