import { gather } from './gather.ts'
import { keys } from './keys.ts'
import type { RunScript } from './scripts.ts'

export type CouponAdmission =
  | { outcome: 'NOT_LOADED' | 'NOT_STARTED' | 'ENDED' | 'SOLD_OUT' }
  | { outcome: 'ADMITTED'; issuedAtMs: number }
  | { outcome: 'ALREADY_ISSUED' | 'IN_PROGRESS'; couponId: string }

/** In place of a coupon id: the grant is not in Postgres and never will be, and its unit is free again. */
export const givenBack = 'back'

/** A grant as pending holds it. */
export interface Grant {
  couponId: string
  userId: number
  /** by the clock of Redis, ms */
  issuedAtMs: number
}

export interface PolicyState {
  /** what remains, or null when the policy is not loaded */
  remaining: number | null
  /** total, start and end of issue (ms) that a loaded policy is issued by, spaces between; null when it is not loaded */
  terms: string | null
  /** the rank up to which loaders have written the holders, or null when they are not loaded */
  holdersUpTo: number | null
  settles: number
  /** changes with every admission and every settlement */
  revision: string
  pendingCouponIds: string[]
}

/** Users of one call of coupon.issue: it takes Redis a few hundred µs. */
const usersPerCall = 50

/** The scripts of coupons as typed functions; what each does stands in its file in lua/. */
export function couponScripts({ run, runEach }: RunScript) {
  const issue = gather<number, { userId: number; couponId: string }, CouponAdmission>(
    usersPerCall,
    async (policyId, users) => {
      const answers = await runEach(
        'coupon.issue',
        2 + users.length,
        keys.couponPolicy(policyId),
        keys.couponPending(policyId),
        ...users.map(({ userId }) => keys.couponHolder(policyId, userId)),
        couponIdsOf(users),
      )
      return answers.map(([outcome, [rest]]) => admissionOf(outcome, rest as string))
    },
  )

  return {
    /**
     * Asks for a unit of the policy for a user. `couponId` is the id that the coupon will have if it is granted. Those
     * who ask in the same turn of the event loop share a call.
     */
    issueCoupon: (policyId: number, userId: number, couponId: string): Promise<CouponAdmission> =>
      issue(policyId, { userId, couponId }),

    /**
     * Takes grants of one policy out of pending. `heldId` is the coupon that the user holds in Postgres, null when it
     * refused, and `givenBack` when the grant never gets there.
     */
    async settleCoupons(
      policyId: number,
      holdersExpireAt: number,
      grants: (Pick<Grant, 'couponId' | 'userId'> & { heldId: string | null })[],
    ): Promise<'SETTLED' | 'DROPPED'> {
      const [outcome] = await run(
        'coupon.settle',
        2 + grants.length,
        keys.couponPolicy(policyId),
        keys.couponPending(policyId),
        ...grants.map((grant) => keys.couponHolder(policyId, grant.userId)),
        holdersExpireAt,
        couponIdsOf(grants),
        ...grants.map(({ heldId }) => heldId ?? ''),
      )
      return outcome
    },

    /** Writes holders of a policy as committed. A call stops Redis for a moment: some hundred at a time. */
    async holdCoupons(
      policyId: number,
      holdersExpireAt: number,
      holders: { userId: number; couponId: string }[],
    ): Promise<void> {
      await run(
        'coupon.hold',
        holders.length,
        ...holders.map(({ userId }) => keys.couponHolder(policyId, userId)),
        holdersExpireAt,
        ...holders.map(({ couponId }) => couponId),
      )
    },

    /** What Redis holds of a policy at one instant. */
    async inspectPolicy(policyId: number): Promise<PolicyState> {
      const [outcome, [holdersUpTo, settles, revision, couponIds, remaining, terms]] = await run(
        'coupon.inspect',
        keys.couponPolicy(policyId),
        keys.couponPending(policyId),
      )
      return {
        remaining: outcome === 'LOADED' ? (remaining as number) : null,
        terms: outcome === 'LOADED' ? (terms as string) : null,
        holdersUpTo: holdersUpTo === -1 ? null : (holdersUpTo as number),
        settles: settles as number,
        revision: revision as string,
        pendingCouponIds: couponIds as string[],
      }
    },

    /** Makes a policy available, unless the loader's view of it is out of date. Times in ms. */
    async loadPolicy(
      policyId: number,
      seen: { loader: string; settles: number },
      policy: {
        total: number
        remaining: number
        startsAt: number
        endsAt: number
        holdersExpireAt: number
        holdersUpTo: number
      },
    ): Promise<'START_OVER' | 'READ_AGAIN' | 'LOADED'> {
      const [outcome] = await run(
        'coupon.load',
        keys.couponPolicy(policyId),
        seen.loader,
        seen.settles,
        policy.total,
        policy.remaining,
        policy.startsAt,
        policy.endsAt,
        policy.holdersExpireAt,
        policy.holdersUpTo,
      )
      return outcome
    },
  }
}

/** Ids are all of the same length. */
const couponIdsOf = (of: { couponId: string }[]) => of.map(({ couponId }) => couponId).join('')

function admissionOf(outcome: CouponAdmission['outcome'], rest: string): CouponAdmission {
  switch (outcome) {
    case 'ADMITTED':
      return { outcome, issuedAtMs: Number(rest) }
    case 'ALREADY_ISSUED':
    case 'IN_PROGRESS':
      return { outcome, couponId: rest }
    default:
      return { outcome }
  }
}

/** Reads a grant from the field and the text of its entry, which lua/coupon.issue.lua describes. */
export function grantOf(userId: string, entry: string): Grant {
  const [, madeAt, , couponId] = entry.split(' ')
  return { couponId: couponId as string, userId: Number(userId), issuedAtMs: Number(madeAt) }
}
