import type { IdempotentCall, Replay } from '../db/idempotency.ts'
import { writeOnce } from '../db/write-once.ts'
import type { Deps } from '../deps.ts'
import type { Refusal } from '../errors.ts'
import { writePolicy } from './coupon.sql.ts'
import { type CouponPolicy, isArchived } from './coupon.ts'
import type { Coupons } from './coupons.ts'

export type CreatedPolicy = CouponPolicy & { remainingQuantity: number }
export type CreatePolicy = ReturnType<typeof createPolicyCreation>

/** Makes the creation of policies that may be repeated with an Idempotency-Key. */
export function createPolicyCreation(
  deps: Pick<Deps, 'transactions' | 'now' | 'log'> & { coupons: Pick<Coupons, 'createPolicy' | 'loader'> },
) {
  const { transactions, now, log, coupons } = deps

  /** Creates a policy once, and makes it ready in Redis. */
  return async function create(
    input: Omit<CouponPolicy, 'id'>,
    call: IdempotentCall<CreatedPolicy> | undefined,
    requestId: string,
  ): Promise<CreatedPolicy | Replay | Refusal<'IDEMPOTENCY_KEY_REUSED'>> {
    if (!call) return coupons.createPolicy(input)
    const at = new Date(now())
    const outcome = await writeOnce(transactions, call, at, async (tx): Promise<CreatedPolicy> => {
      const id = await writePolicy(tx, input, at)
      return { id, ...input, remainingQuantity: input.totalQuantity }
    })
    if (!('refused' in outcome || 'replay' in outcome) && !isArchived(outcome, now())) {
      await coupons.loader
        .load(outcome)
        .catch((error: unknown) =>
          log.warn({ err: error, policyId: outcome.id, requestId }, 'new policy not loaded yet'),
        )
    }
    return outcome
  }
}
