import { sql } from 'drizzle-orm'
import { type Refusal, refuse } from '../errors.ts'
import { idempotencyKeys } from './schema/index.ts'
import { statement } from './statement.ts'
import type { Transaction } from './transactions.ts'

/** What identifies a call with an Idempotency-Key: the user, the route (method and path) and the key. */
export interface CallId {
  userId: number
  route: string
  key: string
}

/** Stands for the operator among the users of calls: ids of users start at 1. */
export const operatorId = 0

/** A call whose answer is kept with its effect, if it has one. */
export interface IdempotentCall<Outcome> extends CallId {
  /** SHA-256 of the body */
  fingerprint: string
  /** the answer that an outcome with an effect will be given, as it will be sent */
  render(outcome: Outcome): Answer
}

/** An answer as it was sent: the status and the JSON text. */
export interface Answer {
  status: number
  answer: string
}

/** The effect took place before: its answer again. */
export interface Replay {
  replay: Answer
}

/** A kept answer. */
export interface KeptAnswer extends CallId, Answer {
  fingerprint: string
}

/** Reads kept answers; `calls` is a JSON list of user_id, route, key: see `callsParameter`. */
export const selectKept = (calls: string | ReturnType<typeof sql.placeholder>) => sql`
  select kept.user_id as "userId", kept.route as "route", kept.key as "key", kept.fingerprint as "fingerprint",
    kept.status as "status", kept.answer as "answer"
  from json_to_recordset(${calls}::text::json) as call (user_id bigint, route text, key text)
  join ${idempotencyKeys} as kept on kept.user_id = call.user_id and kept.route = call.route and kept.key = call.key`

const readKept = statement<{ calls: string }, KeptAnswer>(selectKept(sql.placeholder('calls')))

const insertKept = statement<{ kept: string }, never>(sql`
  insert into ${idempotencyKeys} (user_id, route, key, fingerprint, status, answer, created_at)
  select user_id, route, key, fingerprint, status, answer, created_at
  from json_to_recordset(${sql.placeholder('kept')}::text::json)
    as kept (user_id bigint, route text, key text, fingerprint text, status int, answer text, created_at timestamptz)`)

/** The one name of a call, for maps. */
export function nameOf(call: CallId): string {
  return `${call.userId} ${call.route} ${call.key}`
}

/** Calls as the parameter of `selectKept`. */
export function callsParameter(calls: CallId[]): string {
  return JSON.stringify(calls.map(({ userId, route, key }) => ({ user_id: userId, route, key })))
}

/** The answers of one batch: kept earlier, and to be kept with it. */
export interface AnswerBook {
  /** What a call is to be answered without any effect: its kept answer, or that the key stands for another body. */
  find(call: IdempotentCall<never> | undefined): Replay | Refusal<'IDEMPOTENCY_KEY_REUSED'> | undefined
  /** Keeps the answer of a call that had an effect. */
  keep<Outcome>(call: IdempotentCall<Outcome> | undefined, outcome: Outcome, at: Date): void
  write(tx: Transaction): void
}

/** Reads inside `tx` what is kept for the calls; call it behind the locks that the effect takes. */
export async function openAnswerBook(tx: Transaction, calls: (CallId | undefined)[]): Promise<AnswerBook> {
  const given = calls.filter((call) => call !== undefined)
  const rows = given.length === 0 ? [] : await tx.read(readKept, { calls: callsParameter(given) })
  const kept = new Map(rows.map((row) => [nameOf(row), row]))
  const added: (Answer & {
    user_id: number
    route: string
    key: string
    fingerprint: string
    created_at: Date
  })[] = []
  return {
    find(call) {
      const row = call && kept.get(nameOf(call))
      return row && call ? judgeKept(row, call.fingerprint) : undefined
    },
    keep(call, outcome, at) {
      if (!call) return
      const { userId, route, key, fingerprint } = call
      const { status, answer } = call.render(outcome)
      kept.set(nameOf(call), { userId, route, key, fingerprint, status, answer })
      added.push({ user_id: userId, route, key, fingerprint, status, answer, created_at: at })
    },
    write(tx) {
      // Ascending in the whole key, so that two batches with the same calls meet in the same order.
      added.sort((a, b) => a.user_id - b.user_id || inOrder(a.route, b.route) || inOrder(a.key, b.key))
      if (added.length > 0) tx.write(insertKept, { kept: JSON.stringify(added) })
    },
  }
}

function inOrder(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** A kept answer is given again to the same body; the same key with another body is refused. */
export function judgeKept(
  kept: Answer & { fingerprint: string },
  fingerprint: string,
): Replay | Refusal<'IDEMPOTENCY_KEY_REUSED'> {
  return kept.fingerprint === fingerprint
    ? { replay: { status: kept.status, answer: kept.answer } }
    : refuse('IDEMPOTENCY_KEY_REUSED')
}
