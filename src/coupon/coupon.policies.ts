import { LRUCache } from 'lru-cache'
import type { Database } from '../db/client.ts'
import { findPolicy, insertPolicy } from './coupon.sql.ts'
import type { CouponPolicy } from './coupon.ts'

export interface Policies {
  /** The policy, or undefined when there is none. */
  find(policyId: number): Promise<CouponPolicy | undefined>
  /** Inserts a policy and gives it with its id. */
  create(policy: Omit<CouponPolicy, 'id'>): Promise<CouponPolicy>
}

const cachedPolicies = 10_000

/** Keeps policies in process memory: they never change once created, so nothing needs to expire. */
export function createPolicies(db: Database, now: () => number): Policies {
  const known = new LRUCache<number, CouponPolicy>({ max: cachedPolicies })
  return {
    async find(policyId) {
      const cached = known.get(policyId)
      if (cached) return cached
      const policy = await findPolicy(db, policyId)
      if (policy) known.set(policyId, policy)
      return policy
    },
    async create(policy) {
      const created = await insertPolicy(db, policy, new Date(now()))
      known.set(created.id, created)
      return created
    },
  }
}
