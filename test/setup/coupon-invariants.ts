import { expect } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { allKeys } from './all-keys.ts'
import type { Harness } from './harness.ts'

/**
 * Holds a policy in both stores against the rules, once nothing is under way: issued = rows ≤ total, one a user, ranks
 * 1 to n without gaps (CPN-3), nothing pending, and Redis agreeing with Postgres on the quantity and on every holder.
 */
export async function expectExact(harness: Harness, policyId: number, issued: number): Promise<void> {
  const { sql, redis } = harness
  const [policy] = await sql`select * from coupon_policies where id = ${policyId}`
  const rows = await sql`select id, user_id, rank from coupons where policy_id = ${policyId} order by rank`
  expect(policy?.issued_quantity).toBe(issued)
  expect(rows.map((row) => row.rank)).toEqual(Array.from({ length: issued }, (_, index) => index + 1))
  expect(new Set(rows.map((row) => row.user_id)).size).toBe(issued)

  const answer = await harness.get(`/v1/coupon-policies/${policyId}`)
  expect(answer.body.remainingQuantity).toBe(policy?.total_quantity - issued)
  expect(await redis.hget(keys.couponPolicy(policyId), 'remaining')).toBe(
    String(policy?.total_quantity - issued),
  )
  expect(await redis.hlen(keys.couponPending(policyId))).toBe(0)

  if (rows.length > 0) {
    const held = await redis.mget(rows.map((row) => keys.couponHolder(policyId, row.user_id)))
    expect(held).toEqual(rows.map((row) => row.id))
  }
  const holders = await allKeys(redis, keys.couponHolder(policyId, 0).replace(/0$/, '*'))
  expect(holders.length).toBe(issued)
}
