import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { FakeDataPlatform } from '../../scripts/fake-data-platform.ts'
import { type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { buyers, chargeUsers, expectAllArrived, startWithPlatform, untilDelivered } from '../setup/outbox.ts'
import { inParallel } from '../setup/server.ts'

let platform: FakeDataPlatform
let harness: Harness
let stop: () => Promise<void>
beforeEach(async () => {
  ;({ platform, harness, stop } = await startWithPlatform())
  harness.outbox.startRelay()
})
afterEach(() => stop())

const eventOf = (orderId: string, type: string) =>
  until(`${type} of ${orderId}`, async () =>
    platform.events().find((event) => event.order.id === orderId && event.type === type),
  )

describe('events while all is well', () => {
  it('[ORD-7] a paid order arrives once, as the API shows it, with its event id and time', async () => {
    const productId = await harness.product({ price: 1500, name: '수제 "머리핀" \\ ✂' })
    const policyId = await harness.policy()
    await chargeUsers(harness, [1])
    const { body: coupon } = await harness.issue(policyId, 1)
    const { body: order } = await harness.order(1, [{ productId, quantity: 2 }], { couponId: coupon.id })
    const event = await eventOf(order.id, 'order.paid')
    expect(event.order).toEqual(order)
    expect(event.order).toEqual((await harness.get(`/v1/orders/${order.id}`)).body)
    const [row] = await harness.sql`select event_id, occurred_at from outbox_events`
    expect(event).toMatchObject({ eventId: row?.event_id, occurredAt: order.createdAt, times: 1 })
    expect(row?.occurred_at.toISOString()).toBe(order.createdAt)
    await untilDelivered(harness)
    expect(platform.stats()).toMatchObject({ received: 1, distinct: 1, duplicates: 0 })
  })

  it('[ORD-7, ORD-6] a cancelled order arrives as cancelled, after it arrived as paid', async () => {
    const productId = await harness.product()
    await chargeUsers(harness, [1])
    const { body: paid } = await harness.order(1, productId)
    const { body: canceled } = await harness.cancel(paid.id)
    const event = await eventOf(paid.id, 'order.canceled')
    expect(event.order).toEqual(canceled)
    expect(platform.events().map(({ type }) => type)).toEqual(['order.paid', 'order.canceled'])
    expect(platform.events().map(({ order }) => order.status)).toEqual(['PAID', 'CANCELED'])
  })

  it('[ORD-7, ORD-5] an order that failed for lack of balance, and one refused, send nothing', async () => {
    const productId = await harness.product({ price: 60_000, stock: 1 })
    await harness.charge(1, 50_000)
    expect((await harness.order(1, productId)).status).toBe(402)
    await chargeUsers(harness, [2])
    expect((await harness.order(2, [{ productId, quantity: 2 }])).body.code).toBe('STOCK_INSUFFICIENT')
    const { body: order } = await harness.order(2, productId)
    await eventOf(order.id, 'order.paid')
    expect((await harness.cancel(order.id)).status).toBe(200)
    expect((await harness.cancel(order.id)).body.code).toBe('ORDER_NOT_CANCELABLE')
    await eventOf(order.id, 'order.canceled')
    await untilDelivered(harness)
    expect(platform.stats()).toMatchObject({ received: 2, distinct: 2 })
  })

  it('[ORD-7, ALL-2] a repeat with the same key sends nothing anew', async () => {
    const productId = await harness.product()
    await chargeUsers(harness, [1])
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => harness.order(1, productId, { key: 'mine' })),
    )
    const ids = new Set(answers.flatMap(({ status, body }) => (status === 201 ? [body.id] : [])))
    expect(ids.size).toBe(1)
    await eventOf([...ids][0], 'order.paid')
    await untilDelivered(harness)
    expect(platform.stats().received).toBe(1)
  })

  it('[ORD-7] 2,000 orders and 500 cancels under load arrive once each; the time from commit to arrival is told', async () => {
    const productId = await harness.product({ stock: 5000 })
    await chargeUsers(harness, buyers(200))
    const answeredAt = new Map<string, number>()
    const answers = await inParallel(buyers(2000), 64, async (number) => {
      const answer = await harness.order(1 + (number % 200), productId)
      answeredAt.set(answer.body.id, Date.now())
      return number % 4 === 0 ? harness.cancel(answer.body.id) : answer
    })
    expect(tally(answers)).toEqual({ 201: 1500, 200: 500 })
    await untilDelivered(harness)
    expect(platform.stats()).toMatchObject({ received: 2500, distinct: 2500 })
    await expectAllArrived(harness, platform)
    await expectConsistent(harness)
    tellArrival('under load', answeredAt)
  })

  it('[ORD-7] 100 orders, one after the other: the time from commit to arrival is told', async () => {
    const productId = await harness.product({ stock: 500 })
    await chargeUsers(harness, [1])
    const answeredAt = new Map<string, number>()
    for (const _ of buyers(100)) {
      const { body } = await harness.order(1, productId)
      answeredAt.set(body.id, Date.now())
      await eventOf(body.id, 'order.paid')
    }
    tellArrival('one by one', answeredAt)
  })
})

/** Two times that the commit lies between: from the decision, and from the answer, to the first arrival; ms. */
function tellArrival(what: string, answeredAt: Map<string, number>): void {
  const paid = platform.events().filter(({ type }) => type === 'order.paid')
  const tell = (from: string, times: number[]) => {
    times.sort((a, b) => a - b)
    const [p50, p99] = [0.5, 0.99].map((share) => times[Math.ceil(times.length * share) - 1])
    console.log(
      `outbox, ${what}, ${times.length} events, arrival after ${from}: p50 ${p50} ms, p99 ${p99} ms`,
    )
  }
  const arrived = (receivedAt: string, at: number) => Date.parse(receivedAt) - at
  tell(
    'the decision, before the commit',
    paid.map(({ receivedAt, occurredAt }) => arrived(receivedAt, Date.parse(occurredAt))),
  )
  tell(
    'the answer, after the commit',
    paid.map(({ receivedAt, order }) => arrived(receivedAt, answeredAt.get(order.id) ?? Number.NaN)),
  )
}

describe('a relay', () => {
  it('[ORD-7] sends what was written while none ran', async () => {
    const productId = await harness.product()
    const before = await startHarness({ on: harness.on })
    await harness.outbox.stop()
    await chargeUsers(before, [1])
    const { body: order } = await before.order(1, productId)
    expect(platform.events()).toEqual([])
    const after = await startHarness({ on: harness.on, env: { DATA_PLATFORM_URL: platform.eventsUrl } })
    after.outbox.startRelay()
    await eventOf(order.id, 'order.paid')
    await before.stop()
    await after.stop()
  })

  it('[ORD-7] without DATA_PLATFORM_URL does not run, says so once, and events stay', async () => {
    const lines: string[] = []
    const log = pino({ level: 'info' }, { write: (line) => lines.push(line) })
    const alone = await startHarness({ on: harness.on, ambient: { log } })
    const productId = await harness.product()
    await harness.outbox.stop()
    await chargeUsers(alone, [1])
    alone.outbox.startRelay()
    expect((await alone.order(1, productId)).status).toBe(201)
    await alone.stop()
    expect(await harness.sql`select 1 from outbox_events where delivered_at is null`).toHaveLength(1)
    expect(lines.filter((line) => line.includes('DATA_PLATFORM_URL is not set'))).toHaveLength(1)
  })
})
