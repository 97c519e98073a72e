import type { IdempotentCall, Replay } from '../db/idempotency.ts'
import { writeOnce } from '../db/write-once.ts'
import type { Deps } from '../deps.ts'
import type { Refusal } from '../errors.ts'
import type { PolicyLoader } from './coupon.load.ts'
import type { Policies } from './coupon.policies.ts'
import { insertPolicy } from './coupon.sql.ts'
import { type CouponPolicy, isArchived } from './coupon.ts'

export type CreatedPolicy = CouponPolicy & { remainingQuantity: number }

/** Makes the call that creates a policy (CPN-2). */
export function createPolicyCreation(
  deps: Pick<Deps, 'transactions' | 'now' | 'log'> & { policies: Policies; loader: PolicyLoader },
) {
  const { transactions, now, log, policies, loader } = deps

  /** Creates a policy once, and makes it ready in Redis, so that its first buyer does not wait for that. */
  return async function createPolicy(
    input: Omit<CouponPolicy, 'id'>,
    call: IdempotentCall<CreatedPolicy> | undefined,
    requestId: string,
  ): Promise<CreatedPolicy | Replay | Refusal<'IDEMPOTENCY_KEY_REUSED'>> {
    const at = new Date(now())
    const outcome = await writeOnce(transactions, call, at, async (tx): Promise<CreatedPolicy> => {
      const id = await insertPolicy(tx, input, at)
      return { id, ...input, remainingQuantity: input.totalQuantity }
    })
    if ('refused' in outcome || 'replay' in outcome) return outcome
    const { remainingQuantity: _, ...policy } = outcome
    policies.learn(policy)
    if (!isArchived(policy, now())) {
      await loader
        .load(policy)
        .catch((error: unknown) =>
          log.warn({ err: error, policyId: policy.id, requestId }, 'new policy not loaded yet'),
        )
    }
    return outcome
  }
}
