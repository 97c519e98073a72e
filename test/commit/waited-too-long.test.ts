import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'

/** A write waits for its batch two thirds of it: a member is given up well before recovery takes it for dead. */
const recoveryMinAgeMs = 600
let harness: Harness
beforeAll(async () => {
  harness = await startHarness({
    env: { COMMIT_MAX_IN_FLIGHT: '1', RECOVERY_MIN_AGE_MS: String(recoveryMinAgeMs) },
  })
})
afterAll(() => harness.stop())

/** Has `second` wait for its batch too long, behind `first`, whose transaction waits for the lock. */
async function keepWaiting<Answer>(
  lock: Parameters<typeof holding>[1],
  waiting: () => number,
  first: () => Promise<Answer>,
  second: () => Promise<Answer>,
): Promise<[Answer, Answer]> {
  const letGo = await holding(harness, lock)
  const served = first()
  await untilLockIsAwaited(harness, 'commit')
  const late = second()
  await until('the second to wait', async () => waiting() === 1)
  const since = performance.now()
  await until('the end of its patience', async () => performance.now() - since > recoveryMinAgeMs)
  await letGo()
  return Promise.all([served, late])
}

it('[ORD-2, ALL-3] an order that waited too long for its batch had no effect, and its units are free at once', async () => {
  await harness.charge(1, 10_000)
  await harness.charge(2, 10_000)
  const productId = await harness.product({ stock: 5, price: 100 })
  const [placing] = harness.orders.commits
  const [served, late] = await keepWaiting(
    (connection) => connection`select 1 from products where id = ${productId} for update`,
    () => placing?.stats().waiting ?? 0,
    () => harness.order(1, [{ productId, quantity: 2 }]),
    () => harness.order(2, [{ productId, quantity: 3 }]),
  )
  expect([served.status, late.status]).toEqual([201, 503])
  expect((await harness.call('GET', `/v1/products/${productId}`)).body).toMatchObject({ stock: 3 })
  expect((await harness.order(2, [{ productId, quantity: 3 }])).status).toBe(201)
  await expectConsistent(harness)
})

it('[CPN-1, CPN-3] a grant that waited too long for its batch keeps its place: recovery issues it', async () => {
  const policyId = await harness.policy({ totalQuantity: 2 })
  const [served, late] = await keepWaiting(
    (connection) => connection`select 1 from coupon_policies where id = ${policyId} for update`,
    () => harness.coupons.commit.stats().waiting,
    () => harness.issue(policyId, 1),
    () => harness.issue(policyId, 2),
  )
  expect([served.status, late.status]).toEqual([201, 503])
  expect((await harness.issue(policyId, 3)).body).toMatchObject({ code: 'COUPON_SOLD_OUT' })
  expect(await harness.coupons.recovery.finishAbandoned(-1000)).toBe(1)
  expect((await harness.issue(policyId, 2)).body).toMatchObject({ code: 'COUPON_ALREADY_ISSUED' })
  await expectExact(harness, policyId, 2)
})
