import type { Database } from '../db/client.ts'
import type { Scripts } from '../redis/scripts.ts'
import { remainingOf } from './coupon.load.ts'
import type { CouponPolicy } from './coupon.ts'

/**
 * What remains of a policy, in Redis and as Postgres has it. ABSENT: Redis has not loaded it. MOVING: something was
 * admitted or settled during the look, so that the two cannot be compared.
 */
export type QuantityLook =
  | { outcome: 'ABSENT' | 'MOVING' | 'SAME' }
  | { outcome: 'DIFFERENT'; redis: number; postgres: number; revision: string }

/** Holds the quantity of a policy in Redis against Postgres. What is pending is no difference. */
export async function compareQuantity(
  deps: { scripts: Scripts; db: Database },
  policy: CouponPolicy,
): Promise<QuantityLook> {
  const { scripts, db } = deps
  const before = await scripts.inspectPolicy(policy.id)
  if (before.remaining === null) return { outcome: 'ABSENT' }
  const postgres = await remainingOf(db, policy, before.pendingCouponIds)
  const after = await scripts.inspectPolicy(policy.id)
  if (after.revision !== before.revision || after.remaining !== before.remaining) return { outcome: 'MOVING' }
  if (before.remaining === postgres) return { outcome: 'SAME' }
  return { outcome: 'DIFFERENT', redis: before.remaining, postgres, revision: before.revision }
}
