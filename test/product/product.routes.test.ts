import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changingNothing } from '../setup/contents.ts'
import { adminToken, type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const newProduct = (changes: Record<string, unknown> = {}) => ({
  name: 'Hairpin',
  price: 1000,
  stock: 10,
  ...changes,
})
const create = (changes: Record<string, unknown> = {}) =>
  harness.admin('POST', '/v1/admin/products', newProduct(changes))
const restock = (productId: number | string, body: unknown) =>
  harness.admin('POST', `/v1/admin/products/${productId}/restock`, body)
const stockOf = async (productId: number) => (await harness.get(`/v1/products/${productId}`)).body.stock
const unknown = 987_654_321

/** Each route of this file that takes a body, and one that it accepts. */
const writes = [
  ['/v1/admin/products', newProduct()],
  ['/v1/admin/products/1/restock', { quantity: 1 }],
] as const

describe('POST /v1/admin/products', () => {
  it('[PRD-1, ALL-1] creates a product, which Postgres holds and Redis is ready to sell', async () => {
    const created = await create({ name: '  머리핀 ', price: 1, stock: 7 })
    expect(created.status).toBe(201)
    expect(created.body).toEqual({ id: expect.any(Number), name: '머리핀', price: 1, stock: 7 })
    expect((await harness.get(`/v1/products/${created.body.id}`)).body).toEqual(created.body)
    const [row] = await harness.sql`select * from products where id = ${created.body.id}`
    expect(row).toMatchObject({ name: '머리핀', price: 1, stock: 7, initial_stock: 7 })
    expect(await harness.redis.hget('stock:{0}:available', String(created.body.id))).toBe('7')
  })

  it.each([{ price: 1, stock: 0 }, { price: 100_000_000, stock: 1_000_000_000 }, { name: 'x'.repeat(200) }])(
    '[PRD-3] takes %j',
    async (changes) => {
      const created = await create(changes)
      expect(created.status).toBe(201)
      expect(created.body).toEqual({ id: expect.any(Number), ...newProduct(changes) })
    },
  )

  it.each([
    ['price', { price: 0 }],
    ['price', { price: -1 }],
    ['price', { price: 0.5 }],
    ['price', { price: '1000' }],
    ['price', { price: 100_000_001 }],
    ['price', { price: undefined }],
    ['stock', { stock: -1 }],
    ['stock', { stock: 1.5 }],
    ['stock', { stock: null }],
    ['stock', { stock: 1_000_000_001 }],
    ['name', { name: ' ' }],
    ['name', { name: 'x'.repeat(201) }],
    ['name', { name: 'a\u0000b' }],
    ['name', { name: 7 }],
    ['', { quantity: 5 }],
  ])('[PRD-3, ALL-3] refuses %s of %j and creates nothing', async (path, changes) => {
    const answer = await changingNothing(harness, () => create(changes))
    expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(answer.body.errors).toContainEqual({ path, message: expect.any(String) })
  })
})

describe('GET /v1/products/{productId}', () => {
  it('[ALL-3] 404 for one that does not exist, 400 for an id that is none', async () => {
    const missing = await changingNothing(harness, () => harness.get(`/v1/products/${unknown}`))
    expect(missing.status).toBe(404)
    expect(missing.headers.get('Content-Type')).toBe('application/problem+json')
    expect(missing.body).toEqual({
      type: 'urn:seonchak:problem:product-not-found',
      title: 'There is no such product',
      detail: 'There is no such product',
      status: 404,
      code: 'PRODUCT_NOT_FOUND',
      instance: `/v1/products/${unknown}`,
      requestId: expect.any(String),
    })
    for (const id of ['0', '-1', '1.5', 'x', '9007199254740992']) {
      const invalid = await harness.get(`/v1/products/${id}`)
      expect([invalid.status, invalid.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(invalid.body.errors[0].path).toBe('productId')
    }
  })

  it('[PRD-2, PRD-4] shows after each step what a buyer could still reserve', async () => {
    const productId = await harness.product({ price: 10_000, stock: 10 })
    const steps: [string, number][] = []
    const note = async (step: string) => steps.push([step, await stockOf(productId)])
    await note('created')
    await harness.charge(1, 50_000)
    const { body: order } = await harness.order(1, [{ productId, quantity: 4 }])
    await note('4 ordered')
    expect((await harness.order(1, [{ productId, quantity: 2 }])).status).toBe(402)
    await note('2 not paid for')
    expect(tally([await harness.order(1, [{ productId, quantity: 7 }])])).toEqual({ STOCK_INSUFFICIENT: 1 })
    await note('7 refused')
    await restock(productId, { quantity: 1 })
    await note('1 brought in')
    await harness.cancel(order.id)
    await note('4 cancelled')
    expect(tally([await harness.cancel(order.id)])).toEqual({ ORDER_NOT_CANCELABLE: 1 })
    await note('cancelled again')
    expect(steps).toEqual([
      ['created', 10],
      ['4 ordered', 6],
      ['2 not paid for', 6],
      ['7 refused', 6],
      ['1 brought in', 7],
      ['4 cancelled', 11],
      ['cancelled again', 11],
    ])
    await expectConsistent(harness)
  })
})

describe('GET /v1/products', () => {
  it('[PRD-1, PRD-2] lists by id, page by page, each product once with its stock', async () => {
    const last = await harness.product()
    const ids: number[] = []
    for (let n = 0; n < 5; n++) ids.push(await harness.product({ name: `p${n}`, price: 100 + n, stock: n }))
    await harness.charge(2, 10_000)
    await harness.order(2, ids[4] as number)

    const all = await harness.get('/v1/products?limit=100')
    expect(Object.keys(all.body)).toEqual(['items', 'nextCursor'])
    expect(all.body.nextCursor).toBe(null)
    expect(all.body.items.slice(-5)).toEqual(
      ids.map((id, n) => ({ id, name: `p${n}`, price: 100 + n, stock: n === 4 ? 3 : n })),
    )
    const listed = all.body.items.map(({ id }: { id: number }) => id)
    expect(listed).toEqual([...listed].sort((a, b) => a - b))
    expect(listed).toContain(last)

    const pages = []
    let cursor = ''
    do {
      const page = await harness.get(`/v1/products?limit=4${cursor && `&cursor=${cursor}`}`)
      pages.push(page.body.items)
      cursor = page.body.nextCursor
    } while (cursor)
    expect(pages.slice(0, -1).every((page) => page.length === 4)).toBe(true)
    expect(pages.flat()).toEqual(all.body.items)
  })

  it.each(['limit=0', 'limit=101', 'limit=x', 'cursor=nonsense', 'cursor=WyJhIl0', 'cursor='])(
    '[ALL-3] refuses ?%s',
    async (query) => {
      const answer = await changingNothing(harness, () => harness.get(`/v1/products?${query}`))
      expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(answer.body.errors[0].path).toBe(query.split('=')[0])
    },
  )
})

describe('POST /v1/admin/products/{productId}/restock', () => {
  it('[PRD-4, ALL-1] raises the stock in both stores, and what was sold out can be bought', async () => {
    const productId = await harness.product({ name: 'Ribbon', price: 1, stock: 0 })
    await harness.charge(3, 10_000)
    expect(tally([await harness.order(3, productId)])).toEqual({ STOCK_INSUFFICIENT: 1 })
    const answer = await restock(productId, { quantity: 2 })
    expect(answer.status).toBe(200)
    expect(answer.body).toEqual({ id: productId, name: 'Ribbon', price: 1, stock: 2 })
    const [row] = await harness.sql`select stock, initial_stock from products where id = ${productId}`
    expect(row).toEqual({ stock: 2, initial_stock: 0 })
    const answers = [await harness.order(3, productId), await harness.order(3, productId)]
    expect(tally([...answers, await harness.order(3, productId)])).toEqual({ 201: 2, STOCK_INSUFFICIENT: 1 })
    await expectConsistent(harness)
  })

  it('[PRD-4] of a product that Redis has forgotten counts once', async () => {
    const productId = await harness.product({ stock: 5 })
    await harness.redis.hdel('stock:{0}:available', String(productId))
    expect((await restock(productId, { quantity: 3 })).body.stock).toBe(8)
    await expectConsistent(harness)
  })

  it('[PRD-4] many at once all count', async () => {
    const productId = await harness.product({ stock: 0 })
    const answers = await Promise.all(Array.from({ length: 20 }, () => restock(productId, { quantity: 3 })))
    expect(tally(answers)).toEqual({ 200: 20 })
    expect(await stockOf(productId)).toBe(60)
    await expectConsistent(harness)
  })

  it('[ALL-3] goes up to the most that a product can have, and not beyond', async () => {
    const productId = await harness.product({ stock: 999_999_990 })
    const over = await changingNothing(harness, () => restock(productId, { quantity: 11 }))
    expect([over.status, over.body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(over.body.errors).toEqual([{ path: 'quantity', message: expect.any(String) }])
    expect((await restock(productId, { quantity: 10 })).body.stock).toBe(1_000_000_000)
  })

  it.each([
    ['quantity', { quantity: 0 }],
    ['quantity', { quantity: -1 }],
    ['quantity', { quantity: 1.5 }],
    ['quantity', { quantity: '1' }],
    ['quantity', { quantity: 1_000_000_001 }],
    ['quantity', {}],
    ['', { quantity: 1, price: 5 }],
  ])('[ALL-3] refuses %s of %j and changes nothing', async (path, body) => {
    const productId = await harness.product()
    const answer = await changingNothing(harness, () => restock(productId, body))
    expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(answer.body.errors).toContainEqual({ path, message: expect.any(String) })
  })

  it('[ALL-3] 404 for a product that does not exist, 400 for an id that is none', async () => {
    const missing = await changingNothing(harness, () => restock(unknown, { quantity: 1 }))
    expect([missing.status, missing.body.code]).toEqual([404, 'PRODUCT_NOT_FOUND'])
    const invalid = await changingNothing(harness, () => restock('x', { quantity: 1 }))
    expect([invalid.status, invalid.body.errors[0].path]).toEqual([400, 'productId'])
  })
})

describe('the writes of products', () => {
  it.each(writes)('[ALL-3] POST %s is for holders of the admin token', async (path, body) => {
    await changingNothing(harness, async () => {
      for (const headers of [{}, { Authorization: 'Bearer wrong-token-of-someone' }]) {
        const answer = await harness.call('POST', path, body, headers)
        expect([answer.status, answer.body.code]).toEqual([401, 'UNAUTHENTICATED'])
      }
    })
    const closed = await startHarness({ env: { ADMIN_TOKEN: '' }, on: harness.on })
    const answer = await changingNothing(harness, () => closed.admin('POST', path, body))
    expect([answer.status, answer.body.code]).toEqual([403, 'FORBIDDEN'])
    await closed.stop()
  })

  it.each(writes)(
    '[ALL-3] POST %s refuses what is no JSON, too large, or of another type',
    async (path, body) => {
      const send = (type: string, text: string) =>
        harness.call('POST', path, text, { 'Content-Type': type, Authorization: `Bearer ${adminToken}` })
      const json = 'application/json'
      const answers = await changingNothing(harness, async () => [
        await send(json, '{"quantity":'),
        await send(json, JSON.stringify(body).padEnd(65_537)),
        await send('text/plain', JSON.stringify(body)),
      ])
      expect(answers.map((answer) => [answer.status, answer.body.code])).toEqual([
        [400, 'VALIDATION_FAILED'],
        [413, 'BODY_TOO_LARGE'],
        [415, 'UNSUPPORTED_MEDIA_TYPE'],
      ])
      expect(answers[0]?.body.errors).toEqual([{ path: '', message: expect.any(String) }])
    },
  )
})
