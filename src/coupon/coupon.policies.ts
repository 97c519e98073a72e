import type { Database } from '../db/client.ts'
import { createLookup } from '../db/lookup.ts'
import { findPolicies, insertPolicy } from './coupon.sql.ts'
import type { CouponPolicy } from './coupon.ts'

export interface Policies {
  /** The policy where this process knows it already. */
  known(policyId: number): CouponPolicy | undefined
  /** The policy, or undefined when there is none. */
  find(policyId: number): Promise<CouponPolicy | undefined>
  /** Inserts a policy and gives it with its id. */
  create(policy: Omit<CouponPolicy, 'id'>): Promise<CouponPolicy>
}

const cachedPolicies = 10_000

/** Keeps policies in process memory: they never change once created, so nothing needs to expire. */
export function createPolicies(db: Database, now: () => number): Policies {
  const { known, find, learn } = createLookup({
    read: (ids) => findPolicies(db, ids),
    maxKnown: cachedPolicies,
  })
  return {
    known,
    find,
    async create(policy) {
      const created = await insertPolicy(db, policy, new Date(now()))
      learn(created)
      return created
    },
  }
}
