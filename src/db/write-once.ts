import type { ProblemCode, Refusal } from '../errors.ts'
import { classifyFailure } from './failure.ts'
import { type IdempotentCall, openAnswerBook, type Replay } from './idempotency.ts'
import type { Transaction, Transactions } from './transactions.ts'

/**
 * Runs a write that no group commit takes in a transaction of its own, which also keeps the answer to `call` if there
 * is an effect. Where two calls with one key meet, the later one fails on the key and is tried again: it then finds the
 * answer of the first.
 */
export async function writeOnce<Effect extends object, Code extends ProblemCode = never>(
  transactions: Transactions,
  call: IdempotentCall<Effect> | undefined,
  at: Date,
  write: (tx: Transaction) => Promise<Effect | Refusal<Code>>,
): Promise<Effect | Replay | Refusal<Code | 'IDEMPOTENCY_KEY_REUSED'>> {
  const attempt = () =>
    transactions.run(async (tx) => {
      const answers = await openAnswerBook(tx, [call])
      const answered = answers.find(call)
      if (answered) return answered
      const outcome = await write(tx)
      if (!('refused' in outcome)) answers.keep(call, outcome, at)
      answers.write(tx)
      return outcome
    })
  try {
    return await attempt()
  } catch (error) {
    if (classifyFailure(error) !== 'transient') throw error
    return attempt()
  }
}
