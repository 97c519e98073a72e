import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const users = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)

describe('concurrent issue calls', () => {
  it('[CPN-1, CPN-3, CPN-4] gives 500 coupons to 3,000 users: exactly 500 issued, ranks 1 to 500', async () => {
    const policyId = await harness.policy({ totalQuantity: 500 })
    const answers = await Promise.all(users(3000).map((userId) => harness.issue(policyId, userId)))
    expect(tally(answers)).toEqual({ 201: 500, COUPON_SOLD_OUT: 2500 })
    const ranks = answers.filter((answer) => answer.status === 201).map((answer) => answer.body.rank)
    expect(ranks.sort((a, b) => a - b)).toEqual(users(500))
    await expectExact(harness, policyId, 500)
    expect(harness.coupons.commit.stats().maxBatchSize).toBeGreaterThan(1)
  })

  it('[CPN-3, ALL-1] gives one coupon to a user who calls 50 times at once, and names it in the refusals', async () => {
    const policyId = await harness.policy({ totalQuantity: 100 })
    const answers = await Promise.all(users(50).map(() => harness.issue(policyId, 7)))
    expect(tally(answers)).toEqual({ 201: 1, COUPON_ALREADY_ISSUED: 49 })
    const issued = answers.find((answer) => answer.status === 201)
    for (const answer of answers) expect(answer.body.couponId ?? answer.body.id).toBe(issued?.body.id)
    await expectExact(harness, policyId, 1)
  })

  it('[CPN-3] issues the last unit, to one of many', async () => {
    const policyId = await harness.policy({ totalQuantity: 1 })
    const answers = await Promise.all(users(200).map((userId) => harness.issue(policyId, userId)))
    expect(tally(answers)).toEqual({ 201: 1, COUPON_SOLD_OUT: 199 })
    await expectExact(harness, policyId, 1)
  })

  it('[CPN-1, CPN-3] keeps many policies apart when all are sold at once', async () => {
    const policyIds = await Promise.all(users(20).map(() => harness.policy({ totalQuantity: 20 })))
    const calls = users(40).flatMap((userId) => policyIds.map((policyId) => harness.issue(policyId, userId)))
    expect(tally(await Promise.all(calls))).toEqual({ 201: 400, COUPON_SOLD_OUT: 400 })
    for (const policyId of policyIds) await expectExact(harness, policyId, 20)
  })

  it('[CPN-4] with batches of one, one transaction a request, is just as exact', async () => {
    const single = await startHarness({
      env: { COMMIT_MAX_BATCH: '1', COMMIT_MAX_IN_FLIGHT: '4' },
      on: harness.on,
    })
    const policyId = await single.policy({ totalQuantity: 50 })
    const answers = await Promise.all(users(300).map((userId) => single.issue(policyId, userId)))
    expect(tally(answers)).toEqual({ 201: 50, COUPON_SOLD_OUT: 250 })
    await expectExact(single, policyId, 50)
    expect(single.coupons.commit.stats()).toMatchObject({ batches: 50, members: 50, maxBatchSize: 1 })
    await single.stop()
  })

  it('[ALL-1, ALL-3] refuses with 503 what finds the commit queue full, and admits nothing of it', async () => {
    const small = await startHarness({ env: { COMMIT_MAX_QUEUE: '10' }, on: harness.on })
    const policyId = await small.policy({ totalQuantity: 1000 })
    const answers = await Promise.all(users(100).map((userId) => small.issue(policyId, userId)))
    expect(tally(answers)).toEqual({ 201: 10, UNAVAILABLE: 90 })
    const refused = answers.find((answer) => answer.status === 503)
    expect(refused?.headers.get('Retry-After')).toBe('1')
    await expectExact(small, policyId, 10)
    await small.stop()
  })
})
