import { classifyFailure, isLostRace } from '../db/failure.ts'
import type { IdempotentCall } from '../db/idempotency.ts'
import type { Deps } from '../deps.ts'
import { Overloaded, type Refusal, refuse } from '../errors.ts'
import { createObservedCommit } from '../telemetry/observed-commit.ts'
import { type BalanceEntry, findBalance, listEntries } from './balance.sql.ts'
import { type Charge, type Charged, type ChargeOutcome, commitCharges, minimumCharge } from './charge.ts'

export type Balances = ReturnType<typeof createBalances>

/** The balance domain: charge, query, history. Uses and refunds are entered by orders, through the same ledger. */
export function createBalances(deps: Deps) {
  const { db, transactions, now, commitOptions, tracing } = deps
  const commit = createObservedCommit<Charge, ChargeOutcome>(
    'charge',
    {
      ...commitOptions,
      commit: (charges) => transactions.run((tx) => commitCharges(tx, charges)),
      classify: classifyFailure,
    },
    deps,
  )

  /**
   * Charges a balance (BAL-1, BAL-3, BAL-4). A race lost too often is `BALANCE_CONFLICT` (BAL-6).
   * @throws Unavailable when Postgres is away or the queue is full; whether it was charged may then be unknown
   */
  async function charge(
    userId: number,
    amount: number,
    call: IdempotentCall<Charged> | undefined,
  ): Promise<ChargeOutcome | Refusal<'CHARGE_BELOW_MINIMUM' | 'BALANCE_CONFLICT'>> {
    if (amount < minimumCharge) {
      return refuse('CHARGE_BELOW_MINIMUM', `The least that can be charged is ${minimumCharge} won.`)
    }
    const place = commit.reserve()
    if (!place) throw new Overloaded('the commit queue is full')
    try {
      return await tracing.span('charge', () => place.submit({ userId, amount, at: new Date(now()), call }))
    } catch (error) {
      if (isLostRace(error)) return refuse('BALANCE_CONFLICT')
      throw error
    }
  }

  return {
    charge,
    /** The balance of a user, won; 0 before the first charge. */
    find: (userId: number): Promise<number> => findBalance(db, userId),
    /** Entries of a user's balance, newest first, those before entry `beforeId`. */
    history: (userId: number, beforeId: number | undefined, limit: number): Promise<BalanceEntry[]> =>
      listEntries(db, userId, beforeId, limit),
    commit,
  }
}
