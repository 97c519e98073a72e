import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { couponIdOf, createRequests, type PlainRequest } from '../../scripts/bench/traffic.ts'

const bodyOf = (request: PlainRequest | undefined) => JSON.parse(request?.body ?? 'null')

test('every coupon is asked for by a user of its own', () => {
  const next = createRequests({ kind: 'issue', policyId: 7, firstUser: 100 })
  const requests = Array.from({ length: 1000 }, next)
  expect(requests[0]).toMatchObject({ method: 'POST', path: '/v1/coupon-policies/7/issue' })
  expect(new Set(requests.map((request) => bodyOf(request).userId)).size).toBe(1000)
})

test('holders ask in turn', () => {
  const next = createRequests({ kind: 'issue', policyId: 7, firstUser: 1, users: 3 })
  expect(Array.from({ length: 5 }, () => bodyOf(next()).userId)).toEqual([1, 2, 3, 1, 2])
})

test("an order has each product once, its user's own coupon, and ends when they are used up", () => {
  const coupons = { policyId: 5, count: 2 }
  const next = createRequests({ kind: 'order', firstProduct: 10, products: 4, lines: 3, users: 2, coupons })
  const orders = [bodyOf(next()), bodyOf(next())]
  for (const [index, { userId, items, couponId }] of orders.entries()) {
    expect(userId).toBe(index + 1)
    expect(couponId).toBe(couponIdOf(5, index + 1))
    expect(new Set(items.map(({ productId }: { productId: number }) => productId)).size).toBe(3)
  }
  expect(next()).toBeUndefined()
})

test('the k6 script is a module that parses', () => {
  const script = join(import.meta.dirname, '../../scripts/bench/k6/sale.js')
  const { status, stderr } = spawnSync(process.execPath, ['--check', script], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
