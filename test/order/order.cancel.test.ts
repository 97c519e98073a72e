import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { changingNothing } from '../setup/contents.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

const nobodys = '01890000-0000-7000-8000-000000000000'
let now = Date.now()
let harness: Harness
let userId = 0
let productId: number
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => now } })
})
afterAll(() => harness.stop())
beforeEach(async () => {
  now = Date.now()
  userId++
  productId = await harness.product({ price: 3000, stock: 10 })
})

const stockOf = async (id = productId) => (await harness.get(`/v1/products/${id}`)).body.stock
const pay = async (quantity = 1) => {
  await harness.charge(userId, 3000 * quantity + 10_000)
  return (await harness.order(userId, [{ productId, quantity }])).body
}

describe('POST /v1/orders/{orderId}/cancel', () => {
  it('[ORD-6, ALL-1] refunds, gives the stock back and answers the cancelled order, as Postgres holds it', async () => {
    const other = await harness.product({ price: 500, stock: 3 })
    await harness.charge(userId, 10_000)
    const lines = [
      { productId, quantity: 2 },
      { productId: other, quantity: 3 },
    ]
    const { body: order } = await harness.order(userId, lines)
    expect([await stockOf(), await stockOf(other)]).toEqual([8, 0])
    now += 60_000
    const answer = await harness.cancel(order.id)
    expect(answer.status).toBe(200)
    expect(answer.body).toEqual({
      ...order,
      status: 'CANCELED',
      payment: { ...order.payment, status: 'CANCELED' },
    })
    expect((await harness.get(`/v1/orders/${order.id}`)).body).toEqual(answer.body)
    expect(await harness.balance(userId)).toBe(10_000)
    expect([await stockOf(), await stockOf(other)]).toEqual([10, 3])

    const [row] = await harness.sql`select canceled_at from orders where id = ${order.id}`
    expect(row?.canceled_at).toEqual(new Date(now))
    const events = await harness.sql`select type, occurred_at, payload from outbox_events
      where order_id = ${order.id} order by position`
    expect(events.slice(1)).toEqual([
      { type: 'order.canceled', occurred_at: new Date(now), payload: answer.body },
    ])
    await expectConsistent(harness)
  })

  it('[ORD-6] takes an empty object as a body, and none', async () => {
    for (const body of [{}, undefined]) {
      const order = await pay()
      expect((await harness.post(`/v1/orders/${order.id}/cancel`, body)).status).toBe(200)
    }
  })

  it('[ORD-6, ALL-3] happens once: 409 for a cancelled order', async () => {
    const order = await pay()
    await harness.cancel(order.id)
    const again = await changingNothing(harness, () => harness.cancel(order.id))
    expect([again.status, again.body.code]).toEqual([409, 'ORDER_NOT_CANCELABLE'])
    expect(again.body.detail).toBe('The order is CANCELED.')
  })

  it('[ORD-5, ALL-3] 409 for a FAILED order', async () => {
    const { body } = await harness.order(userId, productId)
    const refused = await changingNothing(harness, () => harness.cancel(body.orderId))
    expect([refused.status, refused.body.code]).toEqual([409, 'ORDER_NOT_CANCELABLE'])
    expect(refused.body.detail).toBe('The order is FAILED.')
  })

  it('[ALL-3] 404 for an order that does not exist, 400 for an id that is none and for a body with more', async () => {
    const order = await pay()
    const answers = await changingNothing(harness, async () => [
      await harness.cancel(nobodys),
      await harness.cancel('17'),
      await harness.post(`/v1/orders/${order.id}/cancel`, { reason: 'no longer wanted' }),
      await harness.post(`/v1/orders/${order.id}/cancel`, '{'),
    ])
    expect(answers.map(({ status, body }) => [status, body.code, body.errors?.[0].path])).toEqual([
      [404, 'ORDER_NOT_FOUND', undefined],
      [400, 'VALIDATION_FAILED', 'orderId'],
      [400, 'VALIDATION_FAILED', ''],
      [400, 'VALIDATION_FAILED', ''],
    ])
  })

  it('[ALL-3] 413 and 415 for a body that is too large, or of another type', async () => {
    const order = await pay()
    const path = `/v1/orders/${order.id}/cancel`
    const answers = await changingNothing(harness, async () => [
      await harness.post(path, '{}'.padEnd(65_537)),
      await harness.post(path, '{}', { 'Content-Type': 'text/plain' }),
    ])
    expect(tally(answers)).toEqual({ BODY_TOO_LARGE: 1, UNSUPPORTED_MEDIA_TYPE: 1 })
  })

  it('[BAL-4, ALL-3] 409 when the refund would reach the limit; below it by a won it goes through', async () => {
    const order = await pay()
    const spare = 9_999_999 - 3000 - (await harness.balance(userId))
    await harness.charge(userId, spare - 10_000)
    await harness.charge(userId, 10_001)
    const refused = await changingNothing(harness, () => harness.cancel(order.id))
    expect([refused.status, refused.body.code]).toEqual([409, 'BALANCE_LIMIT_EXCEEDED'])
    expect((await harness.get(`/v1/orders/${order.id}`)).body).toEqual(order)
    expect(await stockOf()).toBe(9)

    await harness.order(userId, await harness.product({ price: 1 }))
    expect((await harness.cancel(order.id)).status).toBe(200)
    expect(await harness.balance(userId)).toBe(9_999_999)
    await expectConsistent(harness)
  })

  it('[BAL-6, ALL-3] BALANCE_CONFLICT leaves the order paid and its stock taken', async () => {
    const order = await pay()
    await harness.sql`create function always_late() returns trigger language plpgsql as 'begin return null; end'`
    await harness.sql`create trigger always_late before update on user_balances
      for each row execute function always_late()`
    const lost = await changingNothing(harness, () => harness.cancel(order.id, 'race'))
    expect([lost.status, lost.body.code]).toEqual([409, 'BALANCE_CONFLICT'])
    await harness.sql`drop function always_late cascade`
    expect((await harness.cancel(order.id, 'race')).status).toBe(200)
    await expectConsistent(harness)
  })

  it('[ALL-3] 503 for what finds the queue full', async () => {
    const [first, second] = [await pay(), await pay()]
    const small = await startHarness({ env: { COMMIT_MAX_QUEUE: '1' }, on: harness.on })
    const answers = await Promise.all([small.cancel(first.id), small.cancel(second.id)])
    expect(tally(answers)).toEqual({ 200: 1, UNAVAILABLE: 1 })
    await small.stop()
    await expectConsistent(harness)
  })

  it('[ORD-6] many orders of one product and one user at once: each refund and each unit once', async () => {
    const orders = [await pay(2), await pay(3), await pay(1), await pay(4)]
    const before = await harness.balance(userId)
    const answers = await Promise.all([...orders, ...orders].map(({ id }) => harness.cancel(id)))
    expect(tally(answers)).toEqual({ 200: 4, ORDER_NOT_CANCELABLE: 4 })
    expect(await harness.balance(userId)).toBe(before + 30_000)
    expect(await stockOf()).toBe(10)
    await expectConsistent(harness)
  })
})
