import { randomUUIDv7 } from 'node:crypto'
import { afterEach, beforeEach, describe, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { startWorker } from '../../src/worker.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'

const minAgeMs = 500
let harness: Harness
let policyId: number
let productId: number
let stop: (() => Promise<void>) | undefined
beforeEach(async () => {
  stop = undefined
  harness = await startHarness({
    env: { RECOVERY_MIN_AGE_MS: String(minAgeMs), RECOVERY_INTERVAL_MS: '100' },
  })
  policyId = await harness.policy({ totalQuantity: 1 })
  productId = await harness.product({ stock: 10 })
})
afterEach(async () => {
  await stop?.()
  await harness.stop()
})

/** Reserves units of the product and goes no further, as a process that dies. */
async function abandonOrder(): Promise<void> {
  await harness.deps.scripts.reserveStock(0, randomUUIDv7(), [{ productId, quantity: 3 }])
  await until('its age', async () => {
    const { entries } = await harness.deps.scripts.lookAtPending(keys.stockPending(0), minAgeMs, 1)
    return entries.length > 0
  })
}
const untilGivenBack = () =>
  until('the units', async () => (await harness.get(`/v1/products/${productId}`)).body.stock === 10)

describe('the recovery worker', () => {
  it('[ALL-4, PRD-2] gives units back while the recovery of a coupon waits for a lock', async () => {
    await harness.deps.scripts.issueCoupon(policyId, 1, randomUUIDv7())
    const letGo = await holding(
      harness,
      (connection) => connection`select 1 from coupon_policies where id = ${policyId} for update`,
    )
    await abandonOrder()
    stop = startWorker(harness.deps, harness.recoveries)
    await untilLockIsAwaited(harness, 'commit')
    await untilGivenBack()
    await letGo()
    await until('the coupon', async () => (await harness.redis.hlen(keys.couponPending(policyId))) === 0)
    await expectExact(harness, policyId, 1)
  })

  it('[ALL-4, PRD-2] gives units back while the recovery of coupons fails', async () => {
    // Not the type that it is read as.
    await harness.redis.set(keys.couponPending(policyId), 'broken')
    await abandonOrder()
    stop = startWorker(harness.deps, harness.recoveries)
    await untilGivenBack()
    await expectConsistent(harness)
  })
})
