import { expect } from 'vitest'
import type { Harness } from '../setup/harness.ts'

export interface Sale {
  /** what is left of it was ordered and cancelled by users 1 to 6 */
  productId: number
  otherId: number
  /** of 20 coupons users 1 to 8 have one */
  policyId: number
  /** ids of PAID orders; the first one used a coupon */
  paid: string[]
  canceled: string
  failed: string
}

/** Runs a little of everything: charges, coupons, orders with and without, a failed one, a cancellation, a restock. */
export async function runSale(harness: Harness): Promise<Sale> {
  const productId = await harness.product({ stock: 50, price: 10_000 })
  const otherId = await harness.product({ stock: 20, price: 2500 })
  const policyId = await harness.policy({ totalQuantity: 20 })
  const users = Array.from({ length: 8 }, (_, index) => index + 1)
  await Promise.all(users.slice(0, 6).map((userId) => harness.charge(userId, 100_000)))
  const coupons = await Promise.all(users.map((userId) => harness.issue(policyId, userId)))
  const paid = await Promise.all(
    users.slice(0, 5).map(async (userId, index) => {
      const lines = [
        { productId, quantity: 2 },
        { productId: otherId, quantity: 1 },
      ]
      const more = index === 0 || index === 4 ? { couponId: coupons[index]?.body.id } : {}
      const order = await harness.order(userId, lines, more)
      expect(order.status).toBe(201)
      return order.body.id as string
    }),
  )
  const canceled = paid.pop() as string
  expect((await harness.cancel(canceled)).status).toBe(200)
  const failed = await harness.order(7, productId)
  expect(failed.status).toBe(402)
  const restocked = await harness.admin('POST', `/v1/admin/products/${otherId}/restock`, { quantity: 5 })
  expect(restocked.status).toBe(200)
  const [row] = await harness.sql`select id from orders where status = 'FAILED'`
  // Counts the day, so that Redis has sales to be held against Postgres.
  expect((await harness.get('/v1/products/popular')).status).toBe(200)
  return { productId, otherId, policyId, paid, canceled, failed: row?.id }
}

/** The rules that a verdict finds broken, each with how often. */
export function brokenOf(verdict: { rules: { rule: string; violated: number }[] }): Record<string, number> {
  return Object.fromEntries(
    verdict.rules.filter(({ violated }) => violated > 0).map(({ rule, violated }) => [rule, violated]),
  )
}
