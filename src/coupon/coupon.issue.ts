import { setTimeout as pause } from 'node:timers/promises'
import type { GroupCommit } from '../commit/group-commit.ts'
import type { Database } from '../db/client.ts'
import { Overloaded, type Refusal, refuse, Unavailable } from '../errors.ts'
import { maxClockDifferenceMs } from '../redis/pending.ts'
import type { Scripts } from '../redis/scripts.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import type { GrantOutcome, PolicyGrant } from './coupon.grant.ts'
import type { PolicyLoader } from './coupon.load.ts'
import type { Policies } from './coupon.policies.ts'
import { findHeldCoupon } from './coupon.sql.ts'
import { type Coupon, isArchived } from './coupon.ts'

export type IssueOutcome =
  | { coupon: Coupon }
  | Refusal<
      | 'COUPON_POLICY_NOT_FOUND'
      | 'COUPON_ALREADY_ISSUED'
      | 'COUPON_NOT_STARTED'
      | 'COUPON_ENDED'
      | 'COUPON_SOLD_OUT'
    >

export type CouponCommit = GroupCommit<PolicyGrant, GrantOutcome>

/** How long a call waits for a policy to be loaded, or for a grant of the same user to be committed, ms. */
export const patienceMs = 3000
/** First and longest pause between two looks at a grant of the same user that is under way, ms. */
const firstPauseMs = 2
const longestPauseMs = 100

/**
 * Makes the call that issues a coupon: Redis admits or refuses, the group commit writes, and the answer comes after
 * the commit (ALL-1).
 */
export function createIssue(deps: {
  scripts: Scripts
  db: Database
  policies: Policies
  loader: PolicyLoader
  commit: CouponCommit
  tracing: Tracing
  now(): number
  newId(): string
}) {
  const { scripts, db, policies, loader, commit, tracing, now, newId } = deps

  /**
   * Issues a coupon of the policy to the user (CPN-1). @throws Unavailable when a store is away, the queue is full, or
   * the policy cannot be loaded in time; whether a coupon was issued may then be unknown, and asking again is safe.
   */
  return async function issue(policyId: number, userId: number): Promise<IssueOutcome> {
    const policy = policies.known(policyId) ?? (await policies.find(policyId))
    if (!policy) return refuse('COUPON_POLICY_NOT_FOUND')
    if (isArchived(policy, now())) return issueFromArchive(policyId, userId)
    // Redis has the clock that decides: of a policy that may have started by it, it is asked.
    if (policy.issueStartsAt.getTime() - now() > maxClockDifferenceMs) return refuse('COUPON_NOT_STARTED')

    // The place comes before admission: what Redis has admitted always finds room in the commit.
    const place = commit.reserve()
    if (!place) throw new Overloaded('the commit queue is full')
    try {
      const couponId = newId()
      const giveUpAt = now() + patienceMs
      for (let pauseMs = firstPauseMs; now() < giveUpAt; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
        const admission = await tracing.span('coupon.admit', () =>
          scripts.issueCoupon(policyId, userId, couponId),
        )
        switch (admission.outcome) {
          case 'ADMITTED':
            return await place.submit({ policyId, userId, couponId, issuedAtMs: admission.issuedAtMs })
          case 'ALREADY_ISSUED':
            return refuse('COUPON_ALREADY_ISSUED', undefined, { couponId: admission.couponId })
          case 'NOT_STARTED':
            return refuse('COUPON_NOT_STARTED')
          case 'ENDED':
            return refuse('COUPON_ENDED')
          case 'SOLD_OUT':
            return refuse('COUPON_SOLD_OUT')
          case 'NOT_LOADED':
            await loader.load(policy)
            break
          case 'IN_PROGRESS':
            // "You have it already" is true only once the other call's grant is committed.
            await pause(pauseMs)
            break
        }
      }
      throw new Unavailable('the policy is being loaded, or another call of this user is under way')
    } finally {
      place.release()
    }
  }

  async function issueFromArchive(policyId: number, userId: number): Promise<IssueOutcome> {
    const held = await findHeldCoupon(db, policyId, userId)
    return held ? refuse('COUPON_ALREADY_ISSUED', undefined, { couponId: held.id }) : refuse('COUPON_ENDED')
  }
}

/**
 * Tells Redis what became of a batch of grants, policy by policy. A grant whose fate is unknown stays pending, for
 * recovery to find out.
 */
export async function settleGrants(
  scripts: Scripts,
  settled: { grant: PolicyGrant; heldId: string | null; holdersExpireAt: number }[],
): Promise<void> {
  const byPolicy = Map.groupBy(settled, ({ grant }) => grant.policyId)
  await Promise.all(
    [...byPolicy].map(([policyId, members]) =>
      scripts.settleCoupons(
        policyId,
        members[0]?.holdersExpireAt ?? 0,
        members.map(({ grant, heldId }) => ({ ...grant, heldId })),
      ),
    ),
  )
}

/** The coupon that the user holds in Postgres after a grant was decided, or null where Redis was wrong to admit the user. */
export function heldAfter(outcome: GrantOutcome): string | null {
  if ('coupon' in outcome) return outcome.coupon.id
  return typeof outcome.extra?.couponId === 'string' ? outcome.extra.couponId : null
}
