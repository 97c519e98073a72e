import { Ajv2020 } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { adminToken, type Harness, newPolicy, startHarness } from '../setup/harness.ts'
import { callOf, operationsOf, type Schema } from '../setup/operations.ts'

let harness: Harness
let document: Parameters<typeof operationsOf>[0]
let ids: Record<string, unknown>

beforeAll(async () => {
  harness = await startHarness()
  document = (await harness.get('/openapi.json')).body
  const [policyId, productId] = [await harness.policy(), await harness.product()]
  await harness.charge(1, 100_000)
  const { body: order } = await harness.order(1, productId)
  ids = { userId: 1, policyId, productId, orderId: order.id }
})
afterAll(() => harness.stop())

const name = '반짝 세일 · 70 % «été» 😀'
const zoned = { issueStartsAt: '2026-01-01T09:00:00+09:00', issueEndsAt: '2031-01-01T00:00:00.123Z' }

/** Bodies that each route takes. */
const bodiesOf = (route: string): unknown[] => {
  const { policyId, productId } = ids as { policyId: number; productId: number }
  const bodies: Record<string, unknown[]> = {
    'POST /v1/users/{userId}/balance/charge': [{ amount: 10_000 }],
    'POST /v1/coupon-policies/{policyId}/issue': [{ userId: 2 }],
    'POST /v1/orders': [
      { userId: 1, items: [{ productId, quantity: 1 }] },
      { userId: 1, items: [{ productId, quantity: 1 }], couponId: null },
    ],
    'POST /v1/orders/{orderId}/cancel': [{}],
    'POST /v1/admin/products': [
      { name, price: 1, stock: 0 },
      { name: ' x ', price: 100_000_000, stock: 1_000_000_000 },
    ],
    'POST /v1/admin/products/{productId}/restock': [{ quantity: 1 }],
    'POST /v1/admin/coupon-policies': [
      newPolicy({ name, ...zoned }),
      newPolicy({ discountType: 'PERCENT', discountValue: 100, validDays: 3650 }),
      newPolicy({ issueStartsAt: '1970-01-01T00:00:00Z', issueEndsAt: '9999-12-31T23:59:59.999Z' }),
    ],
    'POST /v1/admin/audit': [{}, { repair: false }],
    'POST /v1/admin/cache/warm': [{}, { policyId }, { productId, missingOnly: true }],
    'POST /v1/admin/popular/snapshots': [{ date: '2026-01-31' }],
  }
  return bodies[route] ?? []
}

/** Every schema in the document that has a pattern, with the name that it stands under. */
function patternsIn(value: unknown, at = ''): { at: string; pattern: string }[] {
  if (typeof value !== 'object' || value === null) return []
  const { pattern } = value as Schema
  const own = typeof pattern === 'string' ? [{ at, pattern }] : []
  return [...own, ...Object.entries(value).flatMap(([key, each]) => patternsIn(each, key))]
}

describe('the document', () => {
  it('[ALL-3] has patterns that match what they describe, with and without Unicode rules', () => {
    const good: Record<string, string[]> = { name: [name, 'x', '\uffff', '\u{10ffff}'] }
    const bad: Record<string, string[]> = { name: ['\u0000', 'a\tb', '\u007f', '\u0085', '\u009f'] }
    const patterns = patternsIn(document)
    expect(patterns.map(({ at }) => at)).toContain('name')
    for (const { at, pattern } of patterns) {
      expect(good[at], `an example for ${at}`).toBeDefined()
      for (const flags of ['', 'u']) {
        const regExp = new RegExp(pattern, flags)
        for (const text of good[at] ?? []) expect(regExp.test(text), `${at}: ${text}`).toBe(true)
        for (const text of bad[at] ?? []) expect(regExp.test(text), `${at}: ${text}`).toBe(false)
      }
    }
  })

  it('[ALL-3] takes by its schemas the bodies that the routes take', async () => {
    const ajv = new Ajv2020({ strict: false, allErrors: true })
    ajvFormats.default(ajv)
    for (const operation of operationsOf(document)) {
      if (!operation.body) continue
      const route = `${operation.method} ${operation.path}`
      const bodies = bodiesOf(route)
      expect(bodies.length, `a body for ${route}`).toBeGreaterThan(0)
      const validate = ajv.compile(operation.body)
      for (const body of bodies) {
        const { method, path } = callOf(operation, ids)
        const answer = await harness.call(method, path, body, { Authorization: `Bearer ${adminToken}` })
        expect([200, 201], `${route} ${JSON.stringify(answer.body)}`).toContain(answer.status)
        expect(validate(body), `${route} ${JSON.stringify(body)} ${JSON.stringify(validate.errors)}`).toBe(
          true,
        )
      }
    }
  })
})
