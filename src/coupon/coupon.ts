import type { CouponPolicyRow, CouponRow, CouponStatus } from '../db/schema/index.ts'

/** A policy as Postgres holds it. All but the issued quantity never changes, and that is not in here. */
export type CouponPolicy = Omit<CouponPolicyRow, 'issuedQuantity' | 'createdAt'>

export interface Coupon {
  id: string
  policyId: number
  userId: number
  rank: number
  status: CouponStatus
  discountType: CouponPolicy['discountType']
  discountValue: number
  issuedAt: Date
  expiresAt: Date
  usedAt: Date | null
  orderId: string | null
}

const dayMs = 86_400_000

/** Holder keys outlive the window by this much; a holder who asks later than that is looked up in Postgres. */
export const holdersKeptMs = 7 * dayMs

/** When Redis may forget the holders of a policy, ms. */
export function holdersExpireAt(policy: Pick<CouponPolicy, 'issueEndsAt'>): number {
  return policy.issueEndsAt.getTime() + holdersKeptMs
}

/** What never changes of a policy that Redis issues by, as `inspectPolicy` gives it: total, start and end of issue, ms. */
export function termsOf(policy: CouponPolicy): string {
  return `${policy.totalQuantity} ${policy.issueStartsAt.getTime()} ${policy.issueEndsAt.getTime()}`
}

/** Whether the policy lies so far back that Redis does not know it any more: Postgres alone answers for it. */
export function isArchived(policy: Pick<CouponPolicy, 'issueEndsAt'>, nowMs: number): boolean {
  return nowMs >= holdersExpireAt(policy)
}

/** When a coupon issued at `issuedAtMs` expires, ms. */
export function expiryOf(policy: Pick<CouponPolicy, 'validDays'>, issuedAtMs: number): number {
  return issuedAtMs + policy.validDays * dayMs
}

/** What a coupon's status amounts to now: past its expiry it is EXPIRED, stored so or not (CPN-6). */
export function statusAt(row: Pick<CouponRow, 'status' | 'expiresAt'>, now: Date): CouponStatus {
  return row.status === 'AVAILABLE' && row.expiresAt <= now ? 'EXPIRED' : row.status
}

/** Puts a row and its policy together as clients see the coupon. */
export function couponOf(
  row: CouponRow,
  policy: Pick<CouponPolicy, 'discountType' | 'discountValue'>,
  now: Date,
): Coupon {
  return {
    id: row.id,
    policyId: row.policyId,
    userId: row.userId,
    rank: row.rank,
    status: statusAt(row, now),
    discountType: policy.discountType,
    discountValue: policy.discountValue,
    issuedAt: row.issuedAt,
    expiresAt: row.expiresAt,
    usedAt: row.usedAt,
    orderId: row.orderId,
  }
}
