import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPolicyLoader } from '../../src/coupon/coupon.load.ts'
import { findPolicy } from '../../src/coupon/coupon.sql.ts'
import { Unavailable } from '../../src/errors.ts'
import { givenBack } from '../../src/redis/coupon-scripts.ts'
import { keys } from '../../src/redis/keys.ts'
import { noticeRedisRestart } from '../../src/worker.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { grantText } from '../setup/pending.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const users = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)
const issueAll = (policyId: number, userIds: number[]) =>
  Promise.all(userIds.map((userId) => harness.issue(policyId, userId)))

describe('loading a policy', () => {
  it('[ALL-4] after a flush brings back quantity and holders, one load for many callers', async () => {
    const policyId = await harness.policy({ totalQuantity: 30 })
    const first = await issueAll(policyId, users(20))
    await harness.redis.flushdb()
    const second = await issueAll(policyId, users(40))
    expect(tally(second)).toEqual({ 201: 10, COUPON_ALREADY_ISSUED: 20, COUPON_SOLD_OUT: 10 })
    expect(second.slice(0, 20).map(({ body }) => body.couponId)).toEqual(first.map(({ body }) => body.id))
    await expectExact(harness, policyId, 30)
  })

  it('[ALL-4] counts a grant that is pending and not in Postgres as taken, one that is in Postgres once', async () => {
    const policyId = await harness.policy({ totalQuantity: 10 })
    await issueAll(policyId, users(3))
    const [committed] =
      await harness.sql`select id, user_id from coupons where policy_id = ${policyId} limit 1`
    const pending = keys.couponPending(policyId)
    await harness.redis.hset(pending, {
      [committed?.user_id]: grantText(committed?.id, Date.now()),
      50: grantText('01890000-0000-7000-8000-000000000001', Date.now()),
    })
    await harness.redis.hdel(keys.couponPolicy(policyId), 'remaining')
    expect((await harness.get(`/v1/coupon-policies/${policyId}`)).body.remainingQuantity).toBe(10 - 3 - 1)

    // Recovery finishes both: one was there, the other becomes a coupon.
    expect(await harness.coupons.recovery.finishAbandoned(-1000)).toBe(2)
    await expectExact(harness, policyId, 4)
  })

  it('[ALL-4] reads again when a grant is committed and settled between its look at Postgres and its write', async () => {
    const policyId = await harness.policy({ totalQuantity: 10 })
    await harness.redis.hdel(keys.couponPolicy(policyId), 'remaining')
    const outcomes = await loadWith(policyId, async () => {
      const couponId = '01890000-0000-7000-8000-000000000002'
      await harness.sql`insert into coupons (id, policy_id, user_id, rank, issued_at, expires_at)
        values (${couponId}, ${policyId}, 60, 1, now(), now() + interval '1 day')`
      await harness.sql`update coupon_policies set issued_quantity = 1 where id = ${policyId}`
      await harness.deps.scripts.settleCoupons(policyId, Date.now() + 3_600_000, [
        { couponId, userId: 60, heldId: couponId },
      ])
    })
    expect(outcomes).toEqual(['READ_AGAIN', 'LOADED'])
    await expectExact(harness, policyId, 1)
  })

  it('[ALL-4] starts over, holders included, when Redis is flushed before its write', async () => {
    const policyId = await harness.policy({ totalQuantity: 20 })
    await issueAll(policyId, users(15))
    await harness.redis.flushdb()
    const outcomes = await loadWith(policyId, () => harness.redis.flushdb())
    expect(outcomes).toEqual(['START_OVER', 'LOADED'])
    await expectExact(harness, policyId, 15)
  })

  it('[ALL-4, CPN-3] does not open a policy whose holders it left incomplete when its lock was lost', async () => {
    // One more than a page of holders has: the lock is lost while the first is written.
    const count = 5001
    const policyId = await harness.policy({ totalQuantity: count + 1 })
    await harness.sql`insert into coupons (id, policy_id, user_id, rank, issued_at, expires_at)
      select gen_random_uuid(), ${policyId}, n, n, now(), now() + interval '1 day' from generate_series(1, ${count}::int) n`
    await harness.sql`update coupon_policies set issued_quantity = ${count} where id = ${policyId}`
    await harness.redis.flushdb()
    const { scripts, locks, redis } = harness.deps
    let isLost = () => false
    const loader = createPolicyLoader({
      ...harness.deps,
      locks: {
        tryWith: (key, ttlMs, job) =>
          locks.tryWith(key, ttlMs, (lost) => {
            isLost = () => lost.aborted
            return job(lost)
          }),
      },
      scripts: {
        ...scripts,
        async holdCoupons(...args) {
          await redis.del(keys.couponLoadLock(policyId))
          await until('the loss of the lock', async () => isLost())
          await scripts.holdCoupons(...args)
        },
      },
    })
    await expect(loader.load(await policyOf(policyId))).rejects.toThrow(Unavailable)
    expect(await scripts.inspectPolicy(policyId)).toMatchObject({ remaining: null, holdersUpTo: null })
    expect(tally(await issueAll(policyId, [count]))).toEqual({ COUPON_ALREADY_ISSUED: 1 })
    await expectExact(harness, policyId, count)
  })

  it('[ALL-4, CPN-3] finds the holder of a grant whose process died, where another has the quantity loaded', async () => {
    const policyId = await harness.policy({ totalQuantity: 4 })
    await issueAll(policyId, users(2))
    await harness.redis.flushdb()
    expect((await harness.get(`/v1/coupon-policies/${policyId}`)).body.remainingQuantity).toBe(2)
    // Both were on their way to Postgres in the flush. The process of the first does not come to settle it.
    const [lost, settled] = ['01890000-0000-7000-8000-000000000003', '01890000-0000-7000-8000-000000000004']
    await harness.sql`insert into coupons (id, policy_id, user_id, rank, issued_at, expires_at)
      values (${lost}, ${policyId}, 70, 3, now(), now() + interval '1 day'),
        (${settled}, ${policyId}, 71, 4, now(), now() + interval '1 day')`
    await harness.sql`update coupon_policies set issued_quantity = 4 where id = ${policyId}`
    await harness.deps.scripts.settleCoupons(policyId, Date.now() + 3_600_000, [
      { couponId: settled, userId: 71, heldId: settled },
    ])
    const answers = await issueAll(policyId, [70, 71, 72])
    expect(answers.map(({ body }) => body.couponId ?? body.code)).toEqual([lost, settled, 'COUPON_SOLD_OUT'])
    await expectExact(harness, policyId, 4)
  })

  it('[ALL-4, CPN-3] more grants than units, as an old copy of Redis may have, make none when given back', async () => {
    const policyId = await harness.policy({ totalQuantity: 1 })
    await issueAll(policyId, users(1))
    const grant = { couponId: '01890000-0000-7000-8000-000000000005', userId: 80 }
    const text = grantText(grant.couponId, Date.now())
    await harness.redis.hset(keys.couponPending(policyId), { [grant.userId]: text })
    await harness.redis.hdel(keys.couponPolicy(policyId), 'remaining')
    const remaining = async () =>
      (await harness.get(`/v1/coupon-policies/${policyId}`)).body.remainingQuantity
    expect(await remaining()).toBe(0)
    const settled = [{ ...grant, heldId: givenBack }]
    await harness.deps.scripts.settleCoupons(policyId, Date.now() + 3_600_000, settled)
    expect(await remaining()).toBe(0)
    expect(await harness.coupons.recovery.reconcile()).toBe(0)
    await expectExact(harness, policyId, 1)
  })

  async function policyOf(policyId: number) {
    const policy = await findPolicy(harness.deps.db, policyId)
    if (!policy) throw new Error('no such policy')
    return policy
  }

  /** Loads a policy, with something happening right before the loader's first write. Gives the writes' outcomes. */
  async function loadWith(policyId: number, happening: () => Promise<unknown>) {
    const { scripts } = harness.deps
    const outcomes: string[] = []
    const loader = createPolicyLoader({
      ...harness.deps,
      scripts: {
        ...scripts,
        async loadPolicy(...args) {
          if (outcomes.length === 0) await happening()
          const outcome = await scripts.loadPolicy(...args)
          outcomes.push(outcome)
          return outcome
        },
      },
    })
    await loader.load(await policyOf(policyId))
    return outcomes
  }

  it('[ALL-4] survives flushes at any moment of a load', async () => {
    const policyId = await harness.policy({ totalQuantity: 200 })
    await issueAll(policyId, users(150))
    for (let round = 0; round < 10; round++) {
      await harness.redis.flushdb()
      const loaded = harness.get(`/v1/coupon-policies/${policyId}`)
      for (let turn = 0; turn < round; turn++) await harness.redis.ping()
      await harness.redis.flushdb()
      expect((await loaded).body.remainingQuantity).toBe(50)
      await expectExact(harness, policyId, 150)
    }
  })

  it('[ALL-4, CPN-3] heals a Redis that believes in more units than there are', async () => {
    const policyId = await harness.policy({ totalQuantity: 5 })
    await issueAll(policyId, users(5))
    await harness.redis.hset(keys.couponPolicy(policyId), 'remaining', 3)
    const answers = await issueAll(policyId, users(6, 100))
    expect(tally(answers)).toEqual({ COUPON_SOLD_OUT: 6 })
    await expectExact(harness, policyId, 5)
  })

  it('[ALL-4, CPN-3] heals a Redis that has forgotten a holder', async () => {
    const policyId = await harness.policy({ totalQuantity: 5 })
    const [issued] = await issueAll(policyId, users(1))
    await harness.redis.del(keys.couponHolder(policyId, 1))
    const again = await harness.issue(policyId, 1)
    expect(again.body).toMatchObject({ code: 'COUPON_ALREADY_ISSUED', couponId: issued?.body.id })
    await expectExact(harness, policyId, 1)
  })

  it('[ALL-4] drift that no call would notice is found by recovery, and only drift', async () => {
    const healthy = await harness.policy()
    await issueAll(healthy, users(2))
    const policyId = await harness.policy()
    await issueAll(policyId, users(2))
    await harness.redis.hset(keys.couponPolicy(policyId), 'remaining', 1)
    expect(await harness.coupons.recovery.reconcile()).toBe(1)
    expect(await harness.coupons.recovery.reconcile()).toBe(0)
    await expectExact(harness, policyId, 2)
    await expectExact(harness, healthy, 2)
  })

  it('[ALL-4, CPN-2] a window that Redis has wrong is found by recovery, and set right', async () => {
    const policyId = await harness.policy()
    await issueAll(policyId, users(2))
    await harness.redis.hset(keys.couponPolicy(policyId), 'endsAt', 1)
    expect((await harness.issue(policyId, 3)).body.code).toBe('COUPON_ENDED')
    expect(await harness.coupons.recovery.reconcile()).toBe(1)
    expect((await harness.issue(policyId, 3)).status).toBe(201)
    expect(await harness.coupons.recovery.reconcile()).toBe(0)
    await expectExact(harness, policyId, 3)
  })

  it('[ALL-4] another run of Redis has everything loaded again, the same run nothing', async () => {
    const policyId = await harness.policy()
    await issueAll(policyId, users(2))
    await harness.redis.hset(keys.couponPolicy(policyId), 'remaining', 7)
    await noticeRedisRestart(harness.deps, harness.recoveries)
    expect(await harness.redis.hget(keys.couponPolicy(policyId), 'remaining')).toBe('7')
    await harness.sql`update redis_runs set run_ids = 'an earlier one'`
    await noticeRedisRestart(harness.deps, harness.recoveries)
    await expectExact(harness, policyId, 2)
  })
})
