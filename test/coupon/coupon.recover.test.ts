import { randomUUIDv7 } from 'node:crypto'
import type { Sql } from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'

/** Older than this is everything. */
const anyAge = -1000
let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const holderOf = (policyId: number, userId: number) => harness.redis.get(keys.couponHolder(policyId, userId))

const pendingOf = (policyId: number) => harness.redis.hlen(keys.couponPending(policyId))

/** As when the lock is not to be had within the deadline of the server. */
const refuseAwaitedLock = () => harness.sql`select pg_cancel_backend(pid) from pg_stat_activity
  where datname = current_database() and application_name = 'seonchak commit' and wait_event_type = 'Lock'`

/** Admits a user and goes no further, as a process that is stuck or dead. Gives the coupon's id. */
async function admit(policyId: number, userId: number): Promise<string> {
  const couponId = randomUUIDv7()
  expect(await harness.deps.scripts.issueCoupon(policyId, userId, couponId)).toMatchObject({
    outcome: 'ADMITTED',
  })
  return couponId
}

/** Writes a grant as its own process does. */
async function grant(connection: Sql, policyId: number, userId: number, couponId: string): Promise<void> {
  await connection`update coupon_policies set issued_quantity = issued_quantity + 1 where id = ${policyId}`
  await connection`insert into coupons (id, policy_id, user_id, rank, issued_at, expires_at)
    select ${couponId}, id, ${userId}, issued_quantity, now(), now() + interval '1 day'
    from coupon_policies where id = ${policyId}`
}

describe('recovery of grants', () => {
  it('[ALL-4, CPN-3] a try that fails tells nothing of the grant, whose own commit may still go through', async () => {
    const policyId = await harness.policy({ totalQuantity: 1 })
    const couponId = await admit(policyId, 7)
    const pending = await holderOf(policyId, 7)
    const commit = await holding(harness, (connection) => grant(connection, policyId, 7, couponId))
    const tried = harness.coupons.recovery.finishAbandoned(anyAge)
    await untilLockIsAwaited(harness, 'commit')
    await refuseAwaitedLock()
    expect(await tried).toBe(1)
    expect(await harness.deps.scripts.inspectPolicy(policyId)).toMatchObject({
      remaining: 0,
      pendingCouponIds: [couponId],
    })
    expect(await holderOf(policyId, 7)).toBe(pending)

    await commit(async () => undefined)
    expect(await harness.coupons.recovery.finishAbandoned(anyAge)).toBe(1)
    expect((await harness.issue(policyId, 7)).body).toMatchObject({ code: 'COUPON_ALREADY_ISSUED', couponId })
    await expectExact(harness, policyId, 1)
  })

  it('[ALL-4, CPN-3] a policy that somebody has locked keeps its own grants waiting, and no others', async () => {
    const [stuck, free] = [await harness.policy(), await harness.policy()]
    for (const policyId of [stuck, free]) await admit(policyId, 9)
    const letGo = await holding(
      harness,
      (connection) => connection`select 1 from coupon_policies where id = ${stuck} for update`,
    )
    const tried = harness.coupons.recovery.finishAbandoned(anyAge)
    await untilLockIsAwaited(harness, 'commit')
    await refuseAwaitedLock()
    expect(await tried).toBe(2)
    expect(await Promise.all([stuck, free].map(pendingOf))).toEqual([1, 0])
    expect(await holderOf(free, 9)).not.toBe(null)

    await letGo()
    expect(await harness.coupons.recovery.finishAbandoned(anyAge)).toBe(1)
    await expectExact(harness, stuck, 1)
    await expectExact(harness, free, 1)
  })

  it('[ALL-4, CPN-3] drift of the quantity has the holders loaded again too: one may have been lost with it', async () => {
    const policyId = await harness.policy({ totalQuantity: 1 })
    const couponId = await admit(policyId, 8)
    await harness.redis.flushdb()
    expect((await harness.get(`/v1/coupon-policies/${policyId}`)).body.remainingQuantity).toBe(1)
    // Its process dies between its commit and its settlement.
    await grant(harness.sql, policyId, 8, couponId)
    expect(await harness.coupons.recovery.reconcile()).toBe(1)
    expect((await harness.issue(policyId, 8)).body).toMatchObject({ code: 'COUPON_ALREADY_ISSUED', couponId })
    await expectExact(harness, policyId, 1)
  })
})
