import { afterAll, beforeAll, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding } from '../setup/row-locks.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness({ env: { DATABASE_TIMEOUT_MS: '3000' } })
})
afterAll(() => harness.stop())

it('[ALL-2, ALL-3, PRD-4] an order of a row that somebody has locked is known not to be, and its units are back at once', async () => {
  await harness.charge(1, 10_000)
  const productId = await harness.product({ stock: 2, price: 100 })
  const order = () => harness.order(1, [{ productId, quantity: 2 }], { key: 'locked' })
  const letGo = await holding(
    harness,
    (connection) => connection`select 1 from products where id = ${productId} for update`,
  )
  expect((await order()).status).toBe(503)
  expect(await harness.redis.hlen(keys.stockPending(0))).toBe(0)
  expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(2)
  await letGo()
  const { status, headers } = await order()
  expect([status, headers.get('idempotent-replayed')]).toEqual([201, null])
  await expectConsistent(harness)
})
