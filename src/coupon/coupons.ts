import { type MemberResult, WaitedTooLong } from '../commit/group-commit.ts'
import { classifyFailure } from '../db/failure.ts'
import type { Deps } from '../deps.ts'
import { type Refusal, refuse, Unavailable } from '../errors.ts'
import { givenBack } from '../redis/coupon-scripts.ts'
import { keys } from '../redis/keys.ts'
import { createObservedCommit } from '../telemetry/observed-commit.ts'
import { commitAdmitted } from './coupon.admitted.ts'
import { createPolicyCreation } from './coupon.create.ts'
import { commitGrants, type GrantOutcome, type PolicyGrant } from './coupon.grant.ts'
import { createIssue, heldAfter, patienceMs, settleGrants } from './coupon.issue.ts'
import { createPolicyLoader } from './coupon.load.ts'
import { createPolicies } from './coupon.policies.ts'
import { createCouponRecovery } from './coupon.recover.ts'
import { cancelAvailable, countIssued, findCoupon, listCoupons } from './coupon.sql.ts'
import { type Coupon, type CouponPolicy, couponOf, holdersExpireAt, isArchived } from './coupon.ts'

export type Coupons = ReturnType<typeof createCoupons>

/** The coupon domain: everything that routes, worker and scripts do with coupons. */
export function createCoupons(deps: Deps) {
  const { db, redis, scripts, transactions, trusting, now, tracing } = deps
  const policies = createPolicies(db)
  const loader = createPolicyLoader(deps)

  const commit = createObservedCommit<PolicyGrant, GrantOutcome>(
    'coupon',
    {
      ...deps.commitOptions,
      commit: (grants) =>
        trusting(
          () => commitAdmitted(transactions, grants),
          () => transactions.run((tx) => commitGrants(tx, grants)),
        ),
      settle,
      classify: classifyFailure,
    },
    deps,
  )

  const issue = createIssue({ ...deps, policies, loader, commit })

  async function settle(grants: PolicyGrant[], results: MemberResult<GrantOutcome>[]): Promise<void> {
    const settled: Parameters<typeof settleGrants>[1] = []
    for (const [index, grant] of grants.entries()) {
      const result = results[index]
      if (!result) continue
      // It stays pending, for the next run of recovery to find out, or to issue it: who waited too long for a batch came
      // before those who would get the unit.
      const isLeft =
        !result.ok && (!result.rolledBack || grant.isAbandoned || result.error instanceof WaitedTooLong)
      if (isLeft) continue
      // A policy that is gone has no keys worth keeping.
      const policy = policies.known(grant.policyId) ?? (await policies.find(grant.policyId))
      const heldId = result.ok ? heldAfter(result.outcome) : givenBack
      settled.push({ grant, heldId, holdersExpireAt: policy ? holdersExpireAt(policy) : 0 })
    }
    await settleGrants(scripts, settled)
  }

  /**
   * A policy with what can still be issued at this moment. It comes from Redis, where the next caller is decided.
   * @throws Unavailable when it cannot be known now
   */
  async function findPolicy(
    policyId: number,
  ): Promise<(CouponPolicy & { remainingQuantity: number }) | Refusal<'COUPON_POLICY_NOT_FOUND'>> {
    const policy = await policies.find(policyId)
    if (!policy) return refuse('COUPON_POLICY_NOT_FOUND')
    return { ...policy, remainingQuantity: await remainingQuantity(policy) }
  }

  async function remainingQuantity(policy: CouponPolicy): Promise<number> {
    if (isArchived(policy, now())) {
      return policy.totalQuantity - (await countIssued(db, policy.id, [])).issuedQuantity
    }
    const giveUpAt = now() + patienceMs
    do {
      const remaining = await redis.hget(keys.couponPolicy(policy.id), 'remaining')
      if (remaining !== null) return Math.max(0, Number(remaining))
      await loader.load(policy)
    } while (now() < giveUpAt)
    throw new Unavailable('the policy is being loaded')
  }

  /** A page of a user's coupons, newest first; one more than `limit` is read to know whether there is a next page. */
  async function listForUser(query: Parameters<typeof listCoupons>[1]): Promise<Coupon[]> {
    const at = new Date(now())
    const rows = await listCoupons(db, query, at)
    return rows.map(({ coupon, policy }) => couponOf(coupon, policy, at))
  }

  /** Cancels an AVAILABLE coupon (CPN-5). It still counts as issued: its rank and its holder stay taken. */
  async function cancel(
    couponId: string,
  ): Promise<Coupon | Refusal<'COUPON_NOT_FOUND' | 'COUPON_NOT_AVAILABLE' | 'COUPON_EXPIRED'>> {
    const at = new Date(now())
    const isCanceled = await cancelAvailable(db, couponId, at)
    const row = await findCoupon(db, couponId)
    if (!row) return refuse('COUPON_NOT_FOUND')
    const coupon = couponOf(row.coupon, row.policy, at)
    if (isCanceled) return coupon
    return coupon.status === 'EXPIRED'
      ? refuse('COUPON_EXPIRED')
      : refuse('COUPON_NOT_AVAILABLE', `The coupon is ${coupon.status}.`)
  }

  return {
    issue: (policyId: number, userId: number) => tracing.span('coupon', () => issue(policyId, userId)),
    createPolicy: createPolicyCreation({ ...deps, policies, loader }),
    findPolicy,
    listForUser,
    cancel,
    recovery: createCouponRecovery({ ...deps, commit, loader }),
    loader,
    commit,
  }
}
