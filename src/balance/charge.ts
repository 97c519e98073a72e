import { type IdempotentCall, openAnswerBook, type Replay } from '../db/idempotency.ts'
import { balanceLimit } from '../db/schema/index.ts'
import type { Transaction } from '../db/transactions.ts'
import { type Refusal, refuse } from '../errors.ts'
import { openLedger } from './ledger.ts'

/** The least that can be charged (BAL-3), won. */
export const minimumCharge = 10_000

export interface Charged {
  userId: number
  /** after the charge, won */
  balance: number
}

/** A charge on its way into Postgres. */
export interface Charge {
  userId: number
  amount: number
  at: Date
  call: IdempotentCall<Charged> | undefined
}

export type ChargeOutcome = Charged | Replay | Refusal<'BALANCE_LIMIT_EXCEEDED' | 'IDEMPOTENCY_KEY_REUSED'>

/** Writes charges inside `tx`, decided in the order given (BAL-4, BAL-5). */
export async function commitCharges(tx: Transaction, charges: Charge[]): Promise<ChargeOutcome[]> {
  const [ledger, answers] = await Promise.all([
    openLedger(
      tx,
      charges.map(({ userId }) => userId),
    ),
    openAnswerBook(
      tx,
      charges.map(({ call }) => call),
    ),
  ])
  const outcomes = charges.map((charge): ChargeOutcome => {
    const { userId, amount, at, call } = charge
    const answered = answers.find(call)
    if (answered) return answered
    if (!ledger.enter({ userId, type: 'CHARGE', amount, orderId: null, at })) {
      return refuse('BALANCE_LIMIT_EXCEEDED', `A balance stays below ${balanceLimit} won.`)
    }
    const charged = { userId, balance: ledger.balanceOf(userId) }
    answers.keep(call, charged, at)
    return charged
  })
  ledger.write(tx)
  answers.write(tx)
  return outcomes
}
