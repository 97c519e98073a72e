import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ledgerOf } from '../../src/balance/ledger.ts'
import { type AnswerBook, type IdempotentCall, openAnswerBook } from '../../src/db/idempotency.ts'
import {
  decideOrders,
  type FailedOrder,
  type OrderOutcome,
  type OrderRequest,
  type PlacedOrder,
} from '../../src/order/order.decide.ts'
import type { LockedCoupon, LockedProduct } from '../../src/order/order.place.sql.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`decideOrders seed: TEST_SEED=${seed}`)

/** For the answer books alone: they are read from Postgres. */
let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const at = new Date('2026-03-01T00:00:00Z')
const later = (ms: number) => new Date(at.getTime() + ms)
const uuid = (n: number) => `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`

const product = (id: number, price: number, stock: number): LockedProduct => ({
  id,
  name: `p${id}`,
  price,
  stock,
})
const coupon = (n: number, userId: number, changes: Partial<LockedCoupon> = {}): LockedCoupon => ({
  id: uuid(900 + n),
  userId,
  status: 'AVAILABLE',
  expiresAt: later(1),
  discountType: 'AMOUNT',
  discountValue: 100,
  ...changes,
})
const balance = (userId: number, won: number) => ({ userId, balance: won, version: 1 })

const render: IdempotentCall<PlacedOrder | FailedOrder>['render'] = (outcome) => ({
  status: 'refused' in outcome ? 402 : 201,
  answer: outcome.order.id,
})
const callOf = (userId: number, key: string, fingerprint: string) => ({
  userId,
  route: 'POST /v1/orders',
  key,
  fingerprint,
  render,
})

/** The nth request: of one unit of product 1 unless told otherwise. */
function request(n: number, userId: number, changes: Partial<OrderRequest> = {}): OrderRequest {
  const lines = [{ productId: 1, quantity: 1 }]
  const ids = { orderId: uuid(n), paymentId: uuid(n + 300), eventId: uuid(n + 600) }
  return { ...ids, userId, lines, couponId: null, at, entries: [], call: undefined, ...changes }
}

interface State {
  products: LockedProduct[]
  coupons?: LockedCoupon[]
  balances: { userId: number; balance: number; version: number }[]
  fences?: string[]
}

const bookFor = (requests: OrderRequest[]): Promise<AnswerBook> =>
  harness.deps.transactions.run((tx) =>
    openAnswerBook(
      tx,
      requests.map(({ call }) => call),
    ),
  )

/** Decides requests in one batch. */
async function decide(state: State, requests: OrderRequest[]) {
  const ledger = ledgerOf(state.balances)
  const ground = {
    products: state.products,
    coupons: state.coupons ?? [],
    fences: new Set(state.fences),
    ledger,
    answers: await bookFor(requests),
  }
  return { ...decideOrders(requests, ground), ledger }
}

/** An outcome in a word. */
function word(outcome: OrderOutcome | undefined): string {
  if (outcome === undefined) return 'none'
  if ('abandoned' in outcome) return 'abandoned'
  if ('replay' in outcome) return `replay of ${outcome.replay.status} ${outcome.replay.answer}`
  return 'refused' in outcome ? outcome.refused : outcome.order.status
}
const words = async (state: State, requests: OrderRequest[]) =>
  (await decide(state, requests)).outcomes.map(word)

describe('members of one batch', () => {
  it('[ORD-2, PRD-4] that share a product get its units in their order, and the rest are told what is left', async () => {
    const three = { lines: [{ productId: 1, quantity: 3 }] }
    const { outcomes, changes } = await decide(
      { products: [product(1, 10, 5)], balances: [balance(1, 1000)] },
      [request(1, 1, three), request(2, 1, three), request(3, 1), request(4, 1), request(5, 1)],
    )
    expect(outcomes.map(word)).toEqual(['PAID', 'STOCK_INSUFFICIENT', 'PAID', 'PAID', 'STOCK_INSUFFICIENT'])
    expect(outcomes[1]).toMatchObject({ extra: { productId: 1, available: 2 } })
    expect(outcomes[4]).toMatchObject({ extra: { productId: 1, available: 0 } })
    expect([...changes.stock]).toEqual([[1, 0]])
  })

  it('[ORD-2] one that lacks its last line takes nothing of its first', async () => {
    const both = [1, 2].map((productId) => ({ productId, quantity: 1 }))
    const { outcomes, changes } = await decide(
      { products: [product(1, 10, 1), product(2, 10, 0)], balances: [balance(1, 1000)] },
      [request(1, 1, { lines: both }), request(2, 1)],
    )
    expect(outcomes.map(word)).toEqual(['STOCK_INSUFFICIENT', 'PAID'])
    expect([...changes.stock]).toEqual([[1, 0]])
  })

  it('[ORD-5, BAL-1] that share a user pay in their order; a cheaper one after a FAILED one may still pay', async () => {
    const { outcomes, changes, ledger } = await decide(
      { products: [product(1, 400, 9), product(2, 150, 9)], balances: [balance(1, 1000)] },
      [
        request(1, 1),
        request(2, 1),
        request(3, 1),
        request(4, 1, { lines: [{ productId: 2, quantity: 1 }] }),
        request(5, 1, { lines: [{ productId: 2, quantity: 1 }] }),
      ],
    )
    expect(outcomes.map(word)).toEqual([
      'PAID',
      'PAID',
      'INSUFFICIENT_BALANCE',
      'PAID',
      'INSUFFICIENT_BALANCE',
    ])
    expect(outcomes[2]).toMatchObject({ extra: { orderId: uuid(3), balance: 200, required: 400 } })
    expect(outcomes[4]).toMatchObject({ extra: { orderId: uuid(5), balance: 50, required: 150 } })
    expect(ledger.balanceOf(1)).toBe(50)
    expect(changes.orders.map(({ order }) => order.payment.status)).toEqual([
      'COMPLETED',
      'COMPLETED',
      'FAILED',
      'COMPLETED',
      'FAILED',
    ])
    expect(new Map(changes.stock)).toEqual(
      new Map([
        [1, 7],
        [2, 8],
      ]),
    )
  })

  it('[CPN-5, CPN-7] that share a coupon: the first that pays has used it', async () => {
    const shared = { couponId: uuid(901) }
    const state = {
      products: [product(1, 400, 9), product(2, 9000, 9)],
      coupons: [coupon(1, 1)],
      balances: [balance(1, 1000)],
    }
    const dear = { ...shared, lines: [{ productId: 2, quantity: 1 }] }
    const { outcomes, changes } = await decide(state, [
      request(1, 1, dear),
      request(2, 2, shared),
      request(3, 1, shared),
      request(4, 1, shared),
    ])
    expect(outcomes.map(word)).toEqual([
      'INSUFFICIENT_BALANCE',
      'COUPON_NOT_FOUND',
      'PAID',
      'COUPON_NOT_AVAILABLE',
    ])
    expect(changes.usedCoupons).toEqual([{ id: uuid(901), used_at: at, order_id: uuid(3) }])
    expect(state.coupons[0]?.status).toBe('AVAILABLE')
  })

  it('[ALL-2] that share a key: what has an effect is kept for those behind, PAID or FAILED', async () => {
    const keyed = (n: number, key: string, body: string, changes: Partial<OrderRequest> = {}) =>
      request(n, 1, { ...changes, call: callOf(1, key, body) })
    const dear = { lines: [{ productId: 2, quantity: 1 }] }
    const none = { lines: [{ productId: 1, quantity: 9 }] }
    const outcomes = await words(
      { products: [product(1, 400, 2), product(2, 9000, 2)], balances: [balance(1, 1000)] },
      [
        keyed(1, 'none', 'a', none),
        keyed(2, 'paid', 'a'),
        keyed(3, 'paid', 'a'),
        keyed(4, 'paid', 'b'),
        keyed(5, 'failed', 'a', dear),
        keyed(6, 'failed', 'a', dear),
        keyed(7, 'none', 'b'),
        request(8, 2, { call: callOf(2, 'paid', 'b') }),
      ],
    )
    expect(outcomes).toEqual([
      'STOCK_INSUFFICIENT',
      'PAID',
      `replay of 201 ${uuid(2)}`,
      'IDEMPOTENCY_KEY_REUSED',
      'INSUFFICIENT_BALANCE',
      `replay of 402 ${uuid(5)}`,
      // Its refusal was not kept, so the key is free for another body.
      'PAID',
      // Another user's key is another key, and there is nothing left.
      'STOCK_INSUFFICIENT',
    ])
  })

  it('[ALL-4] one that recovery has given up has no effect, not even as a repeat', async () => {
    const call = callOf(1, 'k', 'a')
    const outcomes = await words(
      { products: [product(1, 10, 1)], balances: [balance(1, 100)], fences: [uuid(1), uuid(3)] },
      [request(1, 1, { call }), request(2, 1, { call }), request(3, 1, { call })],
    )
    expect(outcomes).toEqual(['abandoned', 'PAID', 'abandoned'])
  })
})

describe('a member alone', () => {
  const state = (changes: Partial<State> = {}): State => ({
    products: [product(1, 1000, 9)],
    balances: [balance(1, 100_000)],
    ...changes,
  })
  const withCoupon = (changes: Partial<LockedCoupon>) =>
    words(state({ coupons: [coupon(1, 1, changes)] }), [request(1, 1, { couponId: uuid(901) })])

  it('[ALL-3] is refused for a product or a coupon that is not there', async () => {
    const missing = { lines: [{ productId: 7, quantity: 1 }] }
    const { outcomes, changes } = await decide(state(), [request(1, 1, missing)])
    expect(outcomes).toEqual([{ refused: 'PRODUCT_NOT_FOUND', extra: { productId: 7 } }])
    expect(changes).toEqual({ orders: [], stock: new Map(), usedCoupons: [] })
    expect(await words(state(), [request(1, 1, { couponId: uuid(901) })])).toEqual(['COUPON_NOT_FOUND'])
  })

  it.each([
    ['AVAILABLE', 1, 'PAID'],
    ['AVAILABLE', 0, 'COUPON_EXPIRED'],
    ['EXPIRED', 1, 'COUPON_EXPIRED'],
    ['USED', 1, 'COUPON_NOT_AVAILABLE'],
    ['USED', 0, 'COUPON_NOT_AVAILABLE'],
    ['CANCELED', 0, 'COUPON_NOT_AVAILABLE'],
  ] as const)('[CPN-5, CPN-6] with a coupon %s that has %i ms left: %s', async (status, left, outcome) => {
    expect(await withCoupon({ status, expiresAt: later(left) })).toEqual([outcome])
  })

  it.each([
    ['AMOUNT', 999, 'PAID'],
    ['AMOUNT', 1000, 'FINAL_AMOUNT_NOT_POSITIVE'],
    ['AMOUNT', 5000, 'FINAL_AMOUNT_NOT_POSITIVE'],
    ['PERCENT', 99, 'PAID'],
    ['PERCENT', 100, 'FINAL_AMOUNT_NOT_POSITIVE'],
  ] as const)('[CPN-8] a total of 1,000 less %s %i: %s', async (discountType, discountValue, outcome) => {
    expect(await withCoupon({ discountType, discountValue })).toEqual([outcome])
  })
})

describe('any batch', () => {
  const ids = fc.integer({ min: 1, max: 3 })
  const requestOf = fc.record({
    userId: ids,
    lines: fc.uniqueArray(fc.record({ productId: ids, quantity: fc.integer({ min: 1, max: 3 }) }), {
      minLength: 1,
      maxLength: 3,
      selector: ({ productId }) => productId,
    }),
    couponId: fc.option(
      ids.map((n) => uuid(900 + n)),
      { freq: 3 },
    ),
    key: fc.option(fc.constantFrom('k', 'l'), { freq: 3 }),
    fence: fc.constantFrom(...Array(9).fill(false), true),
  })

  it('[ORD-1, ORD-2, ALL-2] is decided as if its members had come one after the other', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(requestOf, { minLength: 1, maxLength: 10 }),
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 3, maxLength: 3 }),
        fc.array(fc.integer({ min: 0, max: 4000 }), { minLength: 3, maxLength: 3 }),
        async (members, units, wons) => {
          const requests = members.map(({ userId, lines, couponId, key }, n) => {
            const body = JSON.stringify([lines, couponId])
            const call = key === null ? undefined : callOf(userId, key, body)
            return request(n + 1, userId, { lines, couponId, call })
          })
          const fences = requests.flatMap(({ orderId }, n) => (members[n]?.fence ? [orderId] : []))
          const state = {
            products: units.map((stock, n) => product(n + 1, [10, 300, 999][n] as number, stock)),
            coupons: [
              coupon(1, 1),
              coupon(2, 1, { discountType: 'PERCENT' as const, discountValue: 33 }),
              coupon(3, 2),
            ],
            balances: wons.map((won, n) => balance(n + 1, won)),
            fences,
          }
          const together = await decide(state, requests)

          // One by one: each on the rows as the one before has left them.
          const rows = structuredClone(state)
          const answers = await bookFor(requests)
          const outcomes = []
          const orders = []
          for (const each of requests) {
            const ledger = ledgerOf(rows.balances)
            const alone = decideOrders([each], { ...rows, fences: new Set(fences), ledger, answers })
            outcomes.push(...alone.outcomes)
            orders.push(...alone.changes.orders.map(({ order }) => order))
            for (const row of rows.products) row.stock = alone.changes.stock.get(row.id) ?? row.stock
            for (const { id } of alone.changes.usedCoupons) {
              for (const row of rows.coupons) if (row.id === id) Object.assign(row, { status: 'USED' })
            }
            for (const row of rows.balances) row.balance = ledger.balanceOf(row.userId)
          }
          expect(together.outcomes).toEqual(outcomes)
          expect(together.changes.orders.map(({ order }) => order)).toEqual(orders)
          const left = rows.products.map(({ id, stock }) => [id, stock])
          expect(
            state.products.map(({ id, stock }) => [id, together.changes.stock.get(id) ?? stock]),
          ).toEqual(left)
          expect(rows.balances.map(({ userId }) => together.ledger.balanceOf(userId))).toEqual(
            rows.balances.map(({ balance }) => balance),
          )
        },
      ),
      { seed, numRuns: 300 },
    ))
})
