import type { Database } from '../db/client.ts'
import { keys } from '../redis/keys.ts'
import { type PendingBacklog, readPending } from '../redis/pending.ts'
import type { Scripts } from '../redis/scripts.ts'
import { newestPolicyIds } from './coupon.sql.ts'
import { holdersKeptMs } from './coupon.ts'

/** Policies looked at, the newest first. */
const policiesLookedAt = 1000

/** Looks at the grants that are pending in Redis, over the newest policies that Redis may know. */
export async function lookAtPendingGrants(deps: {
  scripts: Scripts
  db: Database
  now(): number
}): Promise<PendingBacklog> {
  const ids = await newestPolicyIds(deps.db, new Date(deps.now() - holdersKeptMs), policiesLookedAt)
  return readPending(
    deps.scripts,
    ids.map((policyId) => keys.couponPending(policyId)),
  )
}
