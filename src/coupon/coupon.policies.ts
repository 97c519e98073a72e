import type { Database } from '../db/client.ts'
import { createLookup, type Lookup } from '../db/lookup.ts'
import { findPolicies } from './coupon.sql.ts'
import type { CouponPolicy } from './coupon.ts'

export type Policies = Lookup<CouponPolicy>

const cachedPolicies = 10_000

/** Keeps policies in process memory: they never change once created, so nothing needs to expire. */
export function createPolicies(db: Database): Policies {
  return createLookup({ read: (ids) => findPolicies(db, ids), maxKnown: cachedPolicies })
}
