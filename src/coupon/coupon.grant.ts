import { sql } from 'drizzle-orm'
import { couponPolicies, coupons } from '../db/schema/index.ts'
import { bigints, statement } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'
import { type Refusal, refuse } from '../errors.ts'
import type { Grant } from '../redis/coupon-scripts.ts'
import { type Coupon, expiryOf } from './coupon.ts'

/** A grant on its way into Postgres. */
export interface PolicyGrant extends Grant {
  policyId: number
  /** Taken up by recovery: what its own process has sent of it may be committed yet, whatever becomes of this try. */
  isAbandoned?: boolean
}

/** What Postgres made of a grant: the coupon, or why not although Redis had admitted it. */
export type GrantOutcome =
  | { coupon: Coupon }
  | Refusal<
      | 'COUPON_SOLD_OUT'
      | 'COUPON_ALREADY_ISSUED'
      | 'COUPON_NOT_STARTED'
      | 'COUPON_ENDED'
      | 'COUPON_POLICY_NOT_FOUND'
    >

interface LockedPolicy {
  id: number
  discountType: Coupon['discountType']
  discountValue: number
  totalQuantity: number
  issuedQuantity: number
  issueStartsAt: Date
  issueEndsAt: Date
  validDays: number
}

interface HeldCoupon {
  id: string
  policyId: number
  userId: number
  rank: number
  status: Coupon['status']
  issuedAt: Date
  expiresAt: Date
  usedAt: Date | null
  orderId: string | null
}

/** Pessimistic lock (CPN-4): rows in ascending id order, so that two batches never wait for each other in a circle. */
export const lockPolicies = statement<{ ids: string }, LockedPolicy>(sql`
  select ${couponPolicies.id} as "id", ${couponPolicies.discountType} as "discountType",
    ${couponPolicies.discountValue} as "discountValue", ${couponPolicies.totalQuantity} as "totalQuantity",
    ${couponPolicies.issuedQuantity} as "issuedQuantity", ${couponPolicies.issueStartsAt} as "issueStartsAt",
    ${couponPolicies.issueEndsAt} as "issueEndsAt", ${couponPolicies.validDays} as "validDays"
  from ${couponPolicies}
  where ${couponPolicies.id} = any(${sql.placeholder('ids')}::text::bigint[])
  order by ${couponPolicies.id}
  for update`)

/** Runs behind the lock, so its snapshot has everything that earlier batches committed. */
const findHeld = statement<{ holders: string }, HeldCoupon>(sql`
  select ${coupons.id} as "id", ${coupons.policyId} as "policyId", ${coupons.userId} as "userId",
    ${coupons.rank} as "rank", ${coupons.status} as "status", ${coupons.issuedAt} as "issuedAt",
    ${coupons.expiresAt} as "expiresAt", ${coupons.usedAt} as "usedAt", ${coupons.orderId} as "orderId"
  from json_to_recordset(${sql.placeholder('holders')}::text::json) as holder (policy_id bigint, user_id bigint)
  join ${coupons} on ${coupons.policyId} = holder.policy_id and ${coupons.userId} = holder.user_id`)

const insertCoupons = statement<{ coupons: string }, never>(sql`
  insert into ${coupons} (id, policy_id, user_id, rank, issued_at, expires_at)
  select id, policy_id, user_id, rank, issued_at, expires_at
  from json_to_recordset(${sql.placeholder('coupons')}::text::json)
    as coupon (id uuid, policy_id bigint, user_id bigint, rank int, issued_at timestamptz, expires_at timestamptz)`)

const countIssued = statement<{ policies: string }, never>(sql`
  update ${couponPolicies} set issued_quantity = policy.issued
  from json_to_recordset(${sql.placeholder('policies')}::text::json) as policy (id bigint, issued int)
  where ${couponPolicies.id} = policy.id`)

/**
 * Writes grants into Postgres inside `tx`: locks their policies, decides each from the locked rows in the order given,
 * and inserts what is granted. A grant that is already there gives its coupon again, so that recovery and a slow
 * process may both finish it.
 */
export async function commitGrants(tx: Transaction, grants: PolicyGrant[]): Promise<GrantOutcome[]> {
  const policyIds = [...new Set(grants.map((grant) => grant.policyId))].sort((a, b) => a - b)
  const [locked, held] = await Promise.all([
    tx.read(lockPolicies, { ids: bigints(policyIds) }),
    tx.read(findHeld, {
      holders: JSON.stringify(grants.map((grant) => ({ policy_id: grant.policyId, user_id: grant.userId }))),
    }),
  ])
  const { outcomes, issued } = decideGrants(grants, locked, held)
  if (issued.length > 0) {
    tx.write(insertCoupons, {
      coupons: JSON.stringify(
        issued.map((coupon) => ({
          id: coupon.id,
          policy_id: coupon.policyId,
          user_id: coupon.userId,
          rank: coupon.rank,
          issued_at: coupon.issuedAt,
          expires_at: coupon.expiresAt,
        })),
      ),
    })
    const lastRank = new Map(issued.map((coupon) => [coupon.policyId, coupon.rank]))
    tx.write(countIssued, {
      policies: JSON.stringify([...lastRank].map(([id, rank]) => ({ id, issued: rank }))),
    })
  }
  return outcomes
}

/**
 * Decides grants from the locked rows, as if they had come one after the other (CPN-2, CPN-3). Gives an outcome a
 * grant, and the coupons to insert, ranks going on from the issued quantity without gaps.
 */
export function decideGrants(
  grants: PolicyGrant[],
  locked: LockedPolicy[],
  held: HeldCoupon[],
): { outcomes: GrantOutcome[]; issued: Coupon[] } {
  const policies = new Map(locked.map((policy) => [policy.id, { ...policy }]))
  const holders = new Map<string, HeldCoupon>(held.map((coupon) => [holderOf(coupon), coupon]))
  const issued: Coupon[] = []

  const outcomes = grants.map((grant): GrantOutcome => {
    const policy = policies.get(grant.policyId)
    if (!policy) return refuse('COUPON_POLICY_NOT_FOUND')
    const { discountType, discountValue } = policy

    const holding = holders.get(holderOf(grant))
    if (holding?.id === grant.couponId) return { coupon: { ...holding, discountType, discountValue } }
    if (holding) return refuse('COUPON_ALREADY_ISSUED', undefined, { couponId: holding.id })

    const { issuedAtMs } = grant
    if (issuedAtMs < policy.issueStartsAt.getTime()) return refuse('COUPON_NOT_STARTED')
    if (issuedAtMs >= policy.issueEndsAt.getTime()) return refuse('COUPON_ENDED')
    if (policy.issuedQuantity >= policy.totalQuantity) return refuse('COUPON_SOLD_OUT')

    policy.issuedQuantity++
    const coupon: HeldCoupon = {
      id: grant.couponId,
      policyId: grant.policyId,
      userId: grant.userId,
      rank: policy.issuedQuantity,
      status: 'AVAILABLE',
      issuedAt: new Date(issuedAtMs),
      expiresAt: new Date(expiryOf(policy, issuedAtMs)),
      usedAt: null,
      orderId: null,
    }
    holders.set(holderOf(grant), coupon)
    issued.push({ ...coupon, discountType, discountValue })
    return { coupon: { ...coupon, discountType, discountValue } }
  })
  return { outcomes, issued }
}

function holderOf(of: { policyId: number; userId: number }): string {
  return `${of.policyId}:${of.userId}`
}
