import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { seeded } from '../setup/random.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`order race seed: TEST_SEED=${seed}`)

let harness: Harness
afterEach(() => harness.stop())

const users = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)
const times = users

/** The same must hold with one batch at a time, with one transaction a request, and with stock over several shards. */
describe.each([
  ['group commit', {}],
  ['lock per request', { COMMIT_MAX_BATCH: '1', COMMIT_MAX_IN_FLIGHT: '4' }],
  ['three shards', { STOCK_SHARDS: '3' }],
] as const)('concurrent orders, %s', (_, env) => {
  beforeEach(async () => {
    harness = await startHarness({ env })
  })

  it('[ORD-1, ORD-2, PRD-4, PRD-5] 1,000 orders for 300 units: 300 PAID, 700 refused, nothing left', async () => {
    const productId = await harness.product({ stock: 300, price: 10_000 })
    await Promise.all(users(1000).map((userId) => harness.charge(userId, 10_000)))
    const answers = await Promise.all(users(1000).map((userId) => harness.order(userId, productId)))
    expect(tally(answers)).toEqual({ 201: 300, STOCK_INSUFFICIENT: 700 })
    const [money] = await harness.sql`select
      (select sum(balance) from user_balances)::int as balances,
      (select sum(amount) from balance_entries where type = 'CHARGE')::int as charged,
      (select sum(amount) from balance_entries where type = 'USE')::int as used`
    expect(money).toEqual({ balances: 7_000_000, charged: 10_000_000, used: 3_000_000 })
    expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(0)
    await expectConsistent(harness)
  })

  it('[ORD-2, PRD-5] overlapping products in random line order: no deadlock, all or nothing', async () => {
    const random = seeded(seed)
    const productIds: number[] = []
    for (let n = 0; n < 8; n++) productIds.push(await harness.product({ stock: 60, price: 100 + n }))
    await Promise.all(users(40).map((userId) => harness.charge(userId, 1_000_000)))
    const orders = times(400).map((n) => {
      const lines = random
        .shuffle(productIds)
        .slice(0, 2 + random.below(4))
        .map((productId) => ({ productId, quantity: 1 + random.below(3) }))
      return harness.order(1 + (n % 40), lines)
    })
    const counts = tally(await Promise.all(orders))
    expect(Object.keys(counts).sort()).toEqual(['201', 'STOCK_INSUFFICIENT'])
    await expectConsistent(harness)
  })

  it('[ORD-5, BAL-6] one user with the balance for 5 of 20 concurrent orders: 5 PAID, 15 FAILED', async () => {
    const productId = await harness.product({ stock: 100, price: 10_000 })
    await harness.charge(1, 50_000)
    const answers = await Promise.all(times(20).map(() => harness.order(1, productId)))
    expect(tally(answers)).toEqual({ 201: 5, INSUFFICIENT_BALANCE: 15 })
    expect(await harness.balance(1)).toBe(0)
    const orders = (await harness.get('/v1/users/1/orders?limit=100')).body.items
    const statuses = orders.map((order: { status: string; payment: { status: string } }) => [
      order.status,
      order.payment.status,
    ])
    expect(statuses.filter(([status]: string[]) => status === 'PAID').length).toBe(5)
    expect(statuses.filter((pair: string[]) => pair.join() === 'FAILED,FAILED').length).toBe(15)
    expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(95)
    await expectConsistent(harness)
  })

  it('[CPN-5, CPN-7] one coupon in 20 concurrent orders is used once', async () => {
    const productId = await harness.product({ stock: 100, price: 10_000 })
    const policyId = await harness.policy({ discountType: 'PERCENT', discountValue: 10 })
    const couponId = (await harness.issue(policyId, 1)).body.id
    await harness.charge(1, 1_000_000)
    const answers = await Promise.all(times(20).map(() => harness.order(1, productId, { couponId })))
    expect(tally(answers)).toEqual({ 201: 1, COUPON_NOT_AVAILABLE: 19 })
    expect(await harness.balance(1)).toBe(1_000_000 - 9000)
    await expectConsistent(harness)
  })

  it('[ORD-6] ten concurrent cancels of one order: one refund', async () => {
    const productId = await harness.product({ stock: 1, price: 10_000 })
    await harness.charge(1, 10_000)
    const { body: order } = await harness.order(1, productId)
    const answers = await Promise.all(times(10).map(() => harness.cancel(order.id)))
    expect(tally(answers)).toEqual({ 200: 1, ORDER_NOT_CANCELABLE: 9 })
    expect(await harness.balance(1)).toBe(10_000)
    expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(1)
    await expectConsistent(harness)
  })

  it('[ALL-2] 30 concurrent repeats with one key: one order, also when all is sold out by then', async () => {
    const productId = await harness.product({ stock: 1, price: 10_000 })
    await harness.charge(1, 100_000)
    const answers = await Promise.all(times(30).map(() => harness.order(1, productId, { key: 'the one' })))
    const ids = new Set(answers.filter(({ status }) => status === 201).map(({ body }) => body.id))
    expect(ids.size).toBe(1)
    for (const { status, body } of answers) expect([201, 409]).toContain(body.code ? 409 : status)
    expect(answers.filter(({ body }) => body.code && body.code !== 'IDEMPOTENCY_IN_PROGRESS')).toEqual([])

    const again = await harness.order(1, productId, { key: 'the one' })
    expect(again.status).toBe(201)
    expect(again.headers.get('Idempotent-Replayed')).toBe('true')
    expect(again.body).toEqual(answers.find(({ status }) => status === 201)?.body)
    const other = await harness.order(1, [{ productId, quantity: 2 }], { key: 'the one' })
    expect([other.status, other.body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED'])
    expect(await harness.balance(1)).toBe(90_000)
    await expectConsistent(harness)
  })

  it('[BAL-4, BAL-5, BAL-6] concurrent charges of one user add up, and stop below the limit', async () => {
    const answers = await Promise.all(times(30).map(() => harness.charge(1, 600_000)))
    expect(tally(answers)).toEqual({ 200: 16, BALANCE_LIMIT_EXCEEDED: 14 })
    expect(await harness.balance(1)).toBe(9_600_000)
    await expectConsistent(harness)
  })

  it('[BAL-5, BAL-6, ORD-6] charges, orders and cancels of the same users at once stay conserved', async () => {
    const random = seeded(seed + 1)
    const productIds = [
      await harness.product({ stock: 1000, price: 700 }),
      await harness.product({ stock: 50 }),
    ]
    await Promise.all(users(5).map((userId) => harness.charge(userId, 100_000)))
    const codes = await Promise.all(
      times(300).map(async (n) => {
        const userId = 1 + (n % 5)
        if (random.below(4) === 0) return [await harness.charge(userId, 10_000)]
        const ordered = await harness.order(userId, productIds[random.below(2)] as number)
        if (ordered.status !== 201 || random.below(2) === 0) return [ordered]
        return [ordered, await harness.cancel(ordered.body.id)]
      }),
    )
    const counts = tally(codes.flat())
    expect(
      Object.keys(counts).filter(
        (code) =>
          !['200', '201', 'STOCK_INSUFFICIENT', 'INSUFFICIENT_BALANCE', 'BALANCE_CONFLICT'].includes(code),
      ),
    ).toEqual([])
    await expectConsistent(harness)
  })
})
