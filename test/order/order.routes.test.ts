import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { changingNothing, contentsOf } from '../setup/contents.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

const uuidV7 = /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/
const nobodys = '01890000-0000-7000-8000-000000000000'
const unknown = 987_654_321
let now = Date.now()
let harness: Harness
let userId = 0
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => now } })
})
afterAll(() => harness.stop())
beforeEach(() => {
  now = Date.now()
  userId++
})

const stockOf = async (productId: number) => (await harness.get(`/v1/products/${productId}`)).body.stock
const ordersOf = async (query = '') => (await harness.get(`/v1/users/${userId}/orders${query}`)).body

describe('POST /v1/orders', () => {
  it('[ORD-1, ORD-4, ALL-1] answers 201 with the order, paid from the balance, as Postgres holds it', async () => {
    const first = await harness.product({ name: 'Hairpin', price: 1000, stock: 10 })
    const second = await harness.product({ name: 'Ribbon', price: 2500, stock: 5 })
    await harness.charge(userId, 20_000)
    const lines = [
      { productId: second, quantity: 2 },
      { productId: first, quantity: 3 },
    ]
    const { status, body: order } = await harness.order(userId, lines)
    expect(status).toBe(201)
    expect(order).toEqual({
      id: expect.stringMatching(uuidV7),
      userId,
      status: 'PAID',
      items: [
        { productId: second, name: 'Ribbon', quantity: 2, unitPrice: 2500, amount: 5000 },
        { productId: first, name: 'Hairpin', quantity: 3, unitPrice: 1000, amount: 3000 },
      ],
      totalAmount: 8000,
      discountAmount: 0,
      finalAmount: 8000,
      couponId: null,
      payment: { id: expect.stringMatching(uuidV7), type: 'BALANCE', status: 'COMPLETED', amount: 8000 },
      createdAt: new Date(now).toISOString(),
    })
    expect(await harness.balance(userId)).toBe(12_000)
    expect([await stockOf(first), await stockOf(second)]).toEqual([7, 3])
    expect((await harness.get(`/v1/orders/${order.id}`)).body).toEqual(order)
    expect(await ordersOf()).toEqual({ items: [order], nextCursor: null })

    const [event] = await harness.sql`select * from outbox_events where order_id = ${order.id}`
    expect(event).toMatchObject({ type: 'order.paid', occurred_at: new Date(now), payload: order })
    const [entry] = await harness.sql`select * from balance_entries where order_id = ${order.id}`
    expect(entry).toMatchObject({ user_id: userId, type: 'USE', amount: 8000, balance_after: 12_000 })
    await expectConsistent(harness)
  })

  it('[PRD-3, ORD-3] takes the least there is: one of price 1, with the balance going down to 0', async () => {
    const productId = await harness.product({ price: 1, stock: 1 })
    const rest = await harness.product({ price: 9999, stock: 1 })
    await harness.charge(userId, 10_000)
    expect((await harness.order(userId, productId)).body.finalAmount).toBe(1)
    expect((await harness.order(userId, rest)).status).toBe(201)
    expect(await harness.balance(userId)).toBe(0)
    await expectConsistent(harness)
  })

  it('[ORD-1] takes 1,000 of a product, and 50 products', async () => {
    const many = await harness.product({ price: 3, stock: 1001 })
    await harness.charge(userId, 100_000)
    expect((await harness.order(userId, [{ productId: many, quantity: 1000 }])).body.totalAmount).toBe(3000)
    expect(await stockOf(many)).toBe(1)
    const lines = []
    for (let n = 0; n < 50; n++)
      lines.push({ productId: await harness.product({ price: 1 + n }), quantity: 2 })
    const { status, body } = await harness.order(userId, lines)
    expect(status).toBe(201)
    expect(body.items.map(({ productId }: { productId: number }) => productId)).toEqual(
      lines.map(({ productId }) => productId),
    )
    expect(body.totalAmount).toBe(2 * (50 * 51) * 0.5)
    await expectConsistent(harness)
  })

  it('[ORD-1, ORD-5] reckons the dearest order there can be to the won', async () => {
    const items = []
    for (let n = 0; n < 50; n++) {
      const productId = await harness.product({ price: 100_000_000 - n, stock: 1000 })
      items.push({ productId, quantity: 1000 })
    }
    const { id: couponId } = (
      await harness.issue(await harness.policy({ discountType: 'PERCENT', discountValue: 33 }), userId)
    ).body
    const required = 5_000_000_000_000 - 1000 * ((49 * 50) / 2) - 1_649_999_595_750
    const { body } = await harness.order(userId, items, { couponId })
    expect(body).toMatchObject({ code: 'INSUFFICIENT_BALANCE', required })
    expect((await harness.get(`/v1/orders/${body.orderId}`)).body.finalAmount).toBe(required)
    await expectConsistent(harness)
  })

  it('[ORD-1] charges the price that Postgres holds, whatever this process believes', async () => {
    const productId = await harness.product({ name: 'Old', price: 1000 })
    await harness.get(`/v1/products/${productId}`)
    await harness.sql`update products set name = 'New', price = 1234 where id = ${productId}`
    await harness.charge(userId, 10_000)
    const { body } = await harness.order(userId, [{ productId, quantity: 2 }])
    expect(body).toMatchObject({ items: [{ name: 'New', unitPrice: 1234, amount: 2468 }], finalAmount: 2468 })
    expect(await harness.balance(userId)).toBe(10_000 - 2468)
    await harness.sql`update products set price = 99 where id = ${productId}`
    expect((await harness.get(`/v1/orders/${body.id}`)).body).toEqual(body)
    await expectConsistent(harness)
  })

  it('[ORD-5, ALL-3] 402 leaves a FAILED order and payment, and stock, balance and coupon untouched', async () => {
    const productId = await harness.product({ price: 6000, stock: 3 })
    const couponId = (await harness.issue(await harness.policy(), userId)).body.id
    await harness.charge(userId, 10_000)
    const before = await contentsOf(harness)
    const refused = await harness.order(userId, [{ productId, quantity: 2 }], { couponId })
    expect(refused.status).toBe(402)
    expect(refused.headers.get('Content-Type')).toBe('application/problem+json')
    expect(refused.body).toEqual({
      type: 'urn:seonchak:problem:insufficient-balance',
      title: 'The balance does not cover the order',
      detail: 'The balance does not cover the order',
      status: 402,
      code: 'INSUFFICIENT_BALANCE',
      instance: '/v1/orders',
      requestId: expect.any(String),
      orderId: expect.stringMatching(uuidV7),
      balance: 10_000,
      required: 11_000,
    })
    const after = await contentsOf(harness)
    const failedOnly = ['orders', 'order_items', 'payments']
    for (const name of failedOnly) {
      expect((after[name] as string[]).length).toBe((before[name] as string[]).length + 1)
      after[name] = before[name]
    }
    expect(after).toEqual(before)

    const failed = {
      id: refused.body.orderId,
      userId,
      status: 'FAILED',
      items: [{ productId, name: 'Hairpin', quantity: 2, unitPrice: 6000, amount: 12_000 }],
      totalAmount: 12_000,
      discountAmount: 1000,
      finalAmount: 11_000,
      couponId,
      payment: { id: expect.stringMatching(uuidV7), type: 'BALANCE', status: 'FAILED', amount: 11_000 },
      createdAt: new Date(now).toISOString(),
    }
    expect((await harness.get(`/v1/orders/${refused.body.orderId}`)).body).toEqual(failed)
    expect((await ordersOf()).items).toEqual([failed])
    // Stock and coupon are free: with more money the very same order goes through.
    await harness.charge(userId, 10_000)
    expect((await harness.order(userId, [{ productId, quantity: 2 }], { couponId })).status).toBe(201)
    await expectConsistent(harness)
  })

  it('[ORD-5] a user who never charged has a balance of 0', async () => {
    const refused = await harness.order(userId, await harness.product({ price: 1 }))
    expect(refused.body).toMatchObject({ code: 'INSUFFICIENT_BALANCE', balance: 0, required: 1 })
    expect(await harness.sql`select * from user_balances where user_id = ${userId}`).toEqual([])
  })

  it('[ORD-2, ALL-3] 409 for too little stock names the product and what there is; no line is taken', async () => {
    const plenty = await harness.product({ stock: 100 })
    const few = await harness.product({ stock: 2 })
    const none = await harness.product({ stock: 0 })
    await harness.charge(userId, 100_000)
    const order = (...lines: [number, number][]) =>
      changingNothing(harness, () =>
        harness.order(
          userId,
          lines.map(([productId, quantity]) => ({ productId, quantity })),
        ),
      )
    const short = await order([plenty, 1], [few, 3], [none, 1])
    expect([short.status, short.body]).toMatchObject([
      409,
      { code: 'STOCK_INSUFFICIENT', productId: few, available: 2 },
    ])
    expect((await order([none, 1], [few, 3])).body).toMatchObject({ productId: none, available: 0 })
    expect((await harness.order(userId, [{ productId: few, quantity: 2 }])).status).toBe(201)
    expect((await order([few, 1])).body).toMatchObject({ productId: few, available: 0 })
  })

  it('[ALL-3] 404 for a product that does not exist, and nothing is taken of those that do', async () => {
    const productId = await harness.product()
    await harness.charge(userId, 10_000)
    const lines = [
      { productId, quantity: 1 },
      { productId: unknown, quantity: 1 },
    ]
    for (const items of [lines, lines.slice(1)]) {
      const missing = await changingNothing(harness, () => harness.order(userId, items))
      expect(missing.status).toBe(404)
      expect(missing.body).toMatchObject({ code: 'PRODUCT_NOT_FOUND', productId: unknown })
    }
  })

  it('[ALL-3] 404 names the product that was asked for, up to the last safe integer', async () => {
    for (const productId of [2 ** 53 - 1, 2 ** 53 - 2, 2 ** 53 - 3]) {
      const { body } = await harness.order(userId, [{ productId, quantity: 1 }])
      expect(body).toMatchObject({ code: 'PRODUCT_NOT_FOUND', productId })
    }
  })

  it('[BAL-6, ALL-3] BALANCE_CONFLICT gives the stock back', async () => {
    const productId = await harness.product({ stock: 1 })
    await harness.charge(userId, 10_000)
    await harness.sql`create function always_late() returns trigger language plpgsql as 'begin return null; end'`
    await harness.sql`create trigger always_late before update on user_balances
      for each row execute function always_late()`
    const lost = await changingNothing(harness, () => harness.order(userId, productId, { key: 'race' }))
    expect([lost.status, lost.body.code]).toEqual([409, 'BALANCE_CONFLICT'])
    await harness.sql`drop function always_late cascade`
    expect((await harness.order(userId, productId, { key: 'race' })).status).toBe(201)
    await expectConsistent(harness)
  })

  it('[BAL-6] a balance whose race is lost every time fails its own order, and not those in the same batch', async () => {
    const productId = await harness.product({ stock: 20 })
    const contended = userId
    const others = Array.from({ length: 9 }, () => ++userId)
    for (const user of [contended, ...others]) await harness.charge(user, 10_000)
    await harness.sql`create function always_late() returns trigger language plpgsql as 'begin return null; end'`
    await harness.sql.unsafe(`create trigger always_late before update on user_balances
      for each row when (old.user_id = ${contended}) execute function always_late()`)
    const batches = harness.orders.commits[0]?.stats().batches
    const answers = await Promise.all([...others, contended].map((user) => harness.order(user, productId)))
    expect(harness.orders.commits[0]?.stats().batches).toBe((batches ?? 0) + 1)
    expect(tally(answers)).toEqual({ 201: 9, BALANCE_CONFLICT: 1 })
    expect(answers.at(-1)?.status).toBe(409)
    await harness.sql`drop function always_late cascade`
    await expectConsistent(harness)
  })

  it('[ALL-3] 503 for what finds the queue full, before anything is reserved', async () => {
    const productId = await harness.product({ stock: 5 })
    await harness.charge(userId, 10_000)
    const small = await startHarness({ env: { COMMIT_MAX_QUEUE: '1' }, on: harness.on })
    const answers = await Promise.all([1, 2, 3].map(() => small.order(userId, productId)))
    expect(tally(answers)).toEqual({ 201: 1, UNAVAILABLE: 2 })
    expect(answers.find(({ status }) => status === 503)?.headers.get('Retry-After')).toBe('1')
    expect(await stockOf(productId)).toBe(4)
    await small.stop()
    await expectConsistent(harness)
  })
})

describe('bodies of POST /v1/orders', () => {
  let productId: number
  beforeAll(async () => {
    productId = await harness.product({ stock: 100_000 })
  })
  const line = (changes: Record<string, unknown> = {}) => ({ productId, quantity: 1, ...changes })
  const lines = (count: number) => Array.from({ length: count }, (_, n) => line({ productId: n + 1 }))

  it.each<[string, (good: { userId: number; items: unknown[] }) => unknown]>([
    ['userId', (good) => ({ ...good, userId: 0 })],
    ['userId', (good) => ({ ...good, userId: '1' })],
    ['userId', (good) => ({ ...good, userId: 1.5 })],
    ['userId', (good) => ({ items: good.items })],
    ['items', (good) => ({ userId: good.userId })],
    ['items', (good) => ({ ...good, items: [] })],
    ['items', (good) => ({ ...good, items: line() })],
    ['items', (good) => ({ ...good, items: lines(51) })],
    ['items', (good) => ({ ...good, items: [line(), line({ quantity: 2 })] })],
    ['items.0', (good) => ({ ...good, items: [null] })],
    ['items.0', (good) => ({ ...good, items: [line({ price: 1 })] })],
    ['items.0.quantity', (good) => ({ ...good, items: [line({ quantity: 0 })] })],
    ['items.0.quantity', (good) => ({ ...good, items: [line({ quantity: -1 })] })],
    ['items.0.quantity', (good) => ({ ...good, items: [line({ quantity: 1001 })] })],
    ['items.0.quantity', (good) => ({ ...good, items: [line({ quantity: 1.5 })] })],
    ['items.0.quantity', (good) => ({ ...good, items: [line({ quantity: '1' })] })],
    ['items.0.quantity', (good) => ({ ...good, items: [{ productId }] })],
    ['items.1.productId', (good) => ({ ...good, items: [line(), line({ productId: 0 })] })],
    ['items.1.productId', (good) => ({ ...good, items: [line(), line({ productId: 2 ** 53 })] })],
    ['couponId', (good) => ({ ...good, couponId: 'x' })],
    ['couponId', (good) => ({ ...good, couponId: 7 })],
    ['', (good) => ({ ...good, couponld: nobodys })],
    ['', () => []],
    ['', () => '{"userId":1,'],
  ])('[ALL-3] 400 for a fault in "%s": case %#', async (path, spoil) => {
    await harness.charge(userId, 10_000)
    const body = spoil({ userId, items: [line()] })
    const answer = await changingNothing(harness, () => harness.post('/v1/orders', body))
    expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(answer.body.errors).toContainEqual({ path, message: expect.any(String) })
  })

  it('[ALL-3] 413 and 415 for one that is too large, or of another type', async () => {
    const body = JSON.stringify({ userId, items: [line()] })
    const answers = await changingNothing(harness, async () => [
      await harness.post('/v1/orders', body.padEnd(65_537)),
      await harness.post('/v1/orders', body, { 'Content-Type': 'application/xml' }),
    ])
    expect(answers.map((answer) => [answer.status, answer.body.code])).toEqual([
      [413, 'BODY_TOO_LARGE'],
      [415, 'UNSUPPORTED_MEDIA_TYPE'],
    ])
  })

  it('[CPN-7] a couponId of null is none', async () => {
    await harness.charge(userId, 10_000)
    const answer = await harness.post('/v1/orders', { userId, items: [line()], couponId: null })
    expect([answer.status, answer.body.couponId]).toEqual([201, null])
  })
})

describe('GET /v1/orders/{orderId}', () => {
  it('[ALL-3] 404 for one that does not exist, 400 for an id that is none', async () => {
    const missing = await changingNothing(harness, () => harness.get(`/v1/orders/${nobodys}`))
    expect([missing.status, missing.body.code]).toEqual([404, 'ORDER_NOT_FOUND'])
    const invalid = await harness.get('/v1/orders/17')
    expect([invalid.status, invalid.body.errors[0].path]).toEqual([400, 'orderId'])
  })
})

describe('GET /v1/users/{userId}/orders', () => {
  it('[ORD-1] lists newest first, page by page, each order once, and nobody else’s', async () => {
    const productId = await harness.product({ price: 4000, stock: 10 })
    await harness.charge(userId, 10_000)
    const ids = []
    for (let n = 0; n < 5; n++) {
      now += 1
      const { body } = await harness.order(userId, productId)
      ids.push(body.id ?? body.orderId)
    }
    await harness.cancel(ids[0])
    await harness.order(userId + 10_000, productId)

    const all = await ordersOf()
    expect(all.items.map(({ id }: { id: string }) => id)).toEqual(ids.toReversed())
    expect(all.items.map(({ status }: { status: string }) => status)).toEqual([
      'FAILED',
      'FAILED',
      'FAILED',
      'PAID',
      'CANCELED',
    ])
    for (const order of all.items) expect((await harness.get(`/v1/orders/${order.id}`)).body).toEqual(order)
    const pages = []
    let cursor = ''
    do {
      const page = await ordersOf(`?limit=2${cursor && `&cursor=${cursor}`}`)
      pages.push(page.items)
      cursor = page.nextCursor
    } while (cursor)
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1])
    expect(pages.flat()).toEqual(all.items)
  })

  it('[ORD-1] orders of one millisecond keep one order over the pages', async () => {
    const productId = await harness.product()
    await harness.charge(userId, 10_000)
    await Promise.all(Array.from({ length: 7 }, () => harness.order(userId, productId)))
    const all = (await ordersOf()).items
    const first = await ordersOf('?limit=3')
    const second = await ordersOf(`?limit=100&cursor=${first.nextCursor}`)
    expect([...first.items, ...second.items]).toEqual(all)
    expect(new Set(all.map(({ id }: { id: string }) => id)).size).toBe(7)
  })

  it('[ORD-1] is empty for a user without orders', async () => {
    expect(await ordersOf()).toEqual({ items: [], nextCursor: null })
  })

  it.each(['limit=0', 'limit=101', 'limit=2.5', 'cursor=nonsense', 'cursor=WzEsMl0'])(
    '[ALL-3] refuses ?%s',
    async (query) => {
      const answer = await harness.get(`/v1/users/${userId}/orders?${query}`)
      expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(answer.body.errors[0].path).toBe(query.split('=')[0])
    },
  )
})
