import type { Database } from '../db/client.ts'
import type { Scripts } from '../redis/scripts.ts'
import { countOf } from './coupon.load.ts'
import { type CouponPolicy, termsOf } from './coupon.ts'

/**
 * What differs of a policy in Redis and as Postgres has it: the terms that it is issued by, or else what remains. ABSENT:
 * Redis has not loaded it. MOVING: something was admitted or settled during the look, so that the two cannot be compared.
 */
export type PolicyLook =
  | { outcome: 'ABSENT' | 'MOVING' | 'SAME' }
  | {
      outcome: 'DIFFERENT'
      what: 'terms' | 'quantity'
      redis: string | number
      postgres: string | number
      revision: string
    }

/** Holds a policy in Redis against Postgres. What is pending is no difference. */
export async function comparePolicy(
  deps: { scripts: Scripts; db: Database },
  policy: CouponPolicy,
): Promise<PolicyLook> {
  const { scripts, db } = deps
  const before = await scripts.inspectPolicy(policy.id)
  if (before.remaining === null) return { outcome: 'ABSENT' }
  const { revision, terms } = before
  const expected = termsOf(policy)
  if (terms !== null && terms !== expected) {
    return { outcome: 'DIFFERENT', what: 'terms', redis: terms, postgres: expected, revision }
  }
  const { remaining: postgres } = await countOf(db, policy, before.pendingCouponIds)
  const after = await scripts.inspectPolicy(policy.id)
  if (after.revision !== revision || after.remaining !== before.remaining) return { outcome: 'MOVING' }
  if (before.remaining === postgres) return { outcome: 'SAME' }
  return { outcome: 'DIFFERENT', what: 'quantity', redis: before.remaining, postgres, revision }
}
