import postgres from 'postgres'
import { Unavailable } from '../errors.ts'

/** SQLSTATE classes and codes that mean: Postgres is away, starting, stopping, full, or gave up on a deadline. */
const outOfReach = /^(08|53|57P|58)|^(57014|55P03|25P03|25P02)$/
/** Rolled back by chance: serialization failure, deadlock. */
const byChance = /^(40001|40P01)$/
/** What `require_rows` raises: an optimistic lock was lost (BAL-6). */
const lostRace = 'SC001'
/**
 * Two calls with one Idempotency-Key met here, as when Redis has lost the claim of the first: the next try finds the
 * answer of the first.
 */
const keyTaken = 'idempotency_keys_user_id_route_key_pk'
/** The data of one member broke a rule: integrity constraint, data exception. */
const byData = /^(22|23)/
/** Codes of the driver and of the socket for a lost or refused connection. */
const connectionCodes =
  /^(CONNECTION_|CONNECT_TIMEOUT|ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** Whether Postgres is out of reach, overdue, or gave up after a deadlock, so that the request is answered 503 and not 500. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (error instanceof postgres.PostgresError) return outOfReach.test(error.code) || byChance.test(error.code)
  return error instanceof Unavailable || connectionCodes.test(codeOf(error))
}

/** Postgres went out of reach before COMMIT was sent: it is certain that nothing was committed. */
export class NotCommitted extends Unavailable {
  override name = 'NotCommitted'
}

/** Postgres did not answer in time. What was sent, a COMMIT too, may still go through on its side. */
export class Overdue extends Unavailable {
  override name = 'Overdue'
}

/**
 * How a failed transaction is to be taken. `unknown` where a connection was lost after COMMIT was sent: it may have gone through.
 * A server that answered with an error has rolled back; anything else that it refuses is a bug, and is final too.
 */
export function classifyFailure(error: unknown): 'member' | 'transient' | 'unknown' | 'final' {
  if (error instanceof NotCommitted) return 'final'
  if (error instanceof postgres.PostgresError) {
    if (byChance.test(error.code) || error.code === lostRace) return 'transient'
    if (error.constraint_name === keyTaken) return 'transient'
    if (byData.test(error.code)) return 'member'
    return outOfReach.test(error.code) ? 'unknown' : 'final'
  }
  if (error instanceof Unavailable || connectionCodes.test(codeOf(error))) return 'unknown'
  return 'final'
}

/** Whether an optimistic lock was lost, and again at every try. */
export function isLostRace(error: unknown): boolean {
  return error instanceof postgres.PostgresError && error.code === lostRace
}

/** Whether a constraint or `require_rows` failed a transaction: it wrote what Postgres does not have so. */
export function isRuleBroken(error: unknown): boolean {
  return error instanceof postgres.PostgresError && (error.code === lostRace || /^23/.test(error.code))
}
