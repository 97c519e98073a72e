import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { FakeDataPlatform } from '../../scripts/fake-data-platform.ts'
import { openTransactions, type Transactions } from '../../src/db/transactions.ts'
import { readBacklog, replayParked } from '../../src/outbox/backlog.ts'
import { createPlatform } from '../../src/outbox/platform.ts'
import { type Relay, type RelaySettings, startRelay } from '../../src/outbox/relay.ts'
import { type Harness, until } from '../setup/harness.ts'
import { buyers, chargeUsers, expectAllArrived, startWithPlatform, untilDelivered } from '../setup/outbox.ts'

const hourMs = 3_600_000

let platform: FakeDataPlatform
let harness: Harness
let stop: () => Promise<void>
let transactions: Transactions
let relay: Relay | undefined
let productId: number
/** the clocks of the relay, ms */
let clock: { wall: number; elapsed: number }
beforeEach(async () => {
  ;({ platform, harness, stop } = await startWithPlatform())
  transactions = openTransactions({
    url: harness.on.database,
    lanes: 3,
    maxWaiting: 100,
    timeoutMs: 5000,
    applicationName: 'seonchak outbox',
  })
  productId = await harness.product({ stock: 1000 })
  await chargeUsers(harness, buyers(30))
  clock = { wall: Date.now(), elapsed: 0 }
})
afterEach(async () => {
  await relay?.stop()
  await transactions.close()
  await stop()
})

/** Starts a relay whose clocks stand still until the test moves them, and whose pauses are as long as they can be. */
function start(settings: Partial<RelaySettings> = {}): void {
  relay = startRelay({
    transactions,
    platform: createPlatform({ url: platform.eventsUrl, timeoutMs: 2000 }),
    batch: 100,
    maxAttempts: 20,
    pollMs: 50,
    leaseMs: 10_000,
    keepMs: 72 * hourMs,
    now: () => clock.wall,
    elapsed: () => clock.elapsed,
    random: () => 0.999_999,
    log: pino({ level: 'silent' }),
    ...settings,
  })
}

const backlog = () => readBacklog(harness.deps.db, Date.now())

const stats = () => {
  if (!relay) throw new Error('no relay was started')
  return relay.stats()
}
const order = async (userId: number): Promise<string> => (await harness.order(userId, productId)).body.id
const rowOf = async (orderId: string, type = 'order.paid') => {
  const [row] = await harness.sql`
    select *, due_at::text as due from outbox_events where order_id = ${orderId} and type = ${type}`
  return row as Record<string, unknown> & { attempts: number; due_at: Date; parked_at: Date | null }
}
const untilPosts = (count: number) =>
  until(`${count} posts to have ended`, async () => stats().posts >= count && stats().posting === 0)

describe('a platform that is away', () => {
  it('[ORD-7] the pauses between the tries of an event double, by chance below that, up to 30 s', async () => {
    platform.behave({ mode: 'error' })
    const orderId = await order(1)
    start({ random: () => 0.5 })
    await untilPosts(1)
    const pause = async () => (await rowOf(orderId)).due_at.getTime() - clock.wall
    const pauses = [await pause()]
    for (let attempt = 2; attempt <= 9; attempt++) {
      // As if the tries had counted: those of an outage do not, see below.
      await harness.sql`update outbox_events set attempts = ${attempt - 1}`
      clock.elapsed += 30_000
      clock.wall += pauses.at(-1) ?? 0
      await untilPosts(attempt)
      pauses.push(await pause())
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000])
  })

  it('[ORD-7] an event that is not due is left alone', async () => {
    platform.behave({ mode: 'error' })
    await order(1)
    start()
    await untilPosts(1)
    const late = await order(2)
    await untilPosts(2)
    expect((await rowOf(late)).attempts).toBe(1)
    await until('some polls', async () => (await rowOf(late)).attempts === 1)
    clock.wall += 199
    expect(stats().posts).toBe(2)
    platform.behave({ mode: 'ok' })
    clock.wall += 1
    await untilDelivered(harness)
  })

  it('[ORD-7] the breaker opens: no event is claimed, no attempt burnt, and probes are single events', async () => {
    platform.behave({ mode: 'error' })
    const tried = await order(1)
    start()
    for (const attempt of [1, 2, 3]) {
      await untilPosts(attempt)
      clock.wall += 30_000
    }
    expect(stats().breaker).toBe('open')
    const late = await Promise.all(buyers(25).map(order))
    expect(await rowOf(tried)).toMatchObject({ attempts: 3, last_error: 'answered 500' })
    // Polls go by, every 50 ms, and each order has woken the relay.
    relay?.wake()
    const { posts } = stats()
    for (const orderId of late) expect(await rowOf(orderId)).toMatchObject({ attempts: 0, last_error: null })
    expect(stats()).toMatchObject({ posts, posting: 0 })

    for (let probe = 1; probe <= 5; probe++) {
      clock.elapsed += 30_000
      clock.wall += 30_000
      await untilPosts(posts + probe)
      expect(stats()).toMatchObject({ breaker: 'open', failed: 3 + probe })
    }
    const rows =
      await harness.sql`select attempts, parked_at, last_error from outbox_events order by position`
    expect(rows.map(({ attempts }) => attempts)).toEqual([3, ...late.map(() => 0)])
    expect(rows.filter(({ parked_at }) => parked_at)).toEqual([])
    expect(rows.filter(({ last_error }) => last_error === 'answered 500')).toHaveLength(1 + 5)

    platform.behave({ mode: 'ok' })
    clock.elapsed += 30_000
    clock.wall += hourMs
    await untilDelivered(harness)
    expect(stats().breaker).toBe('closed')
    await expectAllArrived(harness, platform)
    expect(platform.stats().duplicates).toBe(0)
  })
})

describe('an event that the platform chokes on', () => {
  /** Claims last while the clocks run. */
  const leaseMs = 1000 * hourMs
  /** Moves the clocks past every pause, each time that nothing is on its way, until `isSo`. */
  const letTimePass = (what: string, isSo: () => Promise<boolean>) =>
    until(what, async () => {
      if (stats().posting === 0) {
        clock.elapsed += 30_000
        clock.wall += 30_000
      }
      return isSo()
    })

  it('[ORD-7] does not keep others from being sent, and is parked alone, even when there are several', async () => {
    const bad = await Promise.all(buyers(4).map(order))
    platform.behave({ mode: 'error', orderIds: bad })
    start({ maxAttempts: 6, leaseMs })
    await letTimePass('the breaker to open', async () => stats().breaker === 'open')
    expect((await harness.cancel(bad[0] as string)).status).toBe(200)
    // Others come all the time, as they do in a service.
    const good: string[] = []
    await letTimePass('all of them to be parked', async () => {
      if (good.length < 26) good.push(await order(5 + good.length))
      return stats().parked === bad.length
    })
    await letTimePass('the others', async () => platform.stats().distinct === good.length)
    expect(platform.events().filter(({ order: { id } }) => bad.includes(id))).toEqual([])
    for (const orderId of bad) expect(await rowOf(orderId)).toMatchObject({ attempts: 6, delivered_at: null })
    expect(await rowOf(bad[0] as string, 'order.canceled')).toMatchObject({ attempts: 0 })

    platform.behave({ mode: 'ok' })
    await replayParked(harness.deps.db, 'all', Date.now() + hourMs * 24)
    await letTimePass('all', async () => (await backlog()).pending === 0)
    await expectAllArrived(harness, platform)
  })

  it('[ORD-7] does not hold up the few that waited with it in an outage', async () => {
    const [bad, ...others] = [await order(1), await order(2), await order(3)]
    platform.behave({ mode: 'error' })
    start({ leaseMs })
    await letTimePass('the breaker to open', async () => stats().breaker === 'open')
    // Back again, and no new order to find that out by.
    platform.behave({ mode: 'error', orderIds: [bad] })
    await letTimePass('the others', async () => platform.stats().distinct === 2)
    expect(platform.events().map(({ order: { id } }) => id)).toEqual(expect.arrayContaining(others))
  })
})

describe('an event that the platform does not want', () => {
  it('[ORD-7] is parked alone after OUTBOX_MAX_ATTEMPTS, however many it was sent together with', async () => {
    const orderIds = await Promise.all(buyers(30).map(order))
    const bad = orderIds[12] as string
    platform.behave({ mode: 'error', status: 422, orderIds: [bad] })
    start({ maxAttempts: 6, random: () => 0 })
    await until('the event to be parked', async () => (await rowOf(bad)).parked_at !== null)
    expect(await rowOf(bad)).toMatchObject({
      attempts: 6,
      last_error: 'answered 422',
      delivered_at: null,
    })
    await until('the others', async () => (await backlog()).pending === 0)
    expect(await backlog()).toEqual({ pending: 0, parked: 1, oldestAt: null, lagMs: 0 })
    expect(stats()).toMatchObject({ breaker: 'closed', parked: 1, delivered: 29 })
    expect(platform.stats()).toMatchObject({ distinct: 29, duplicates: 0 })
  })

  it('[ORD-7] parks nobody else when the first try is the last', async () => {
    const orderIds = await Promise.all(buyers(10).map(order))
    platform.behave({ mode: 'error', status: 400, orderIds: [orderIds[3] as string] })
    start({ maxAttempts: 1 })
    await until('all to be tried', async () => stats().posts === 10)
    await until('the marks', async () => (await backlog()).pending === 0)
    expect(await backlog()).toMatchObject({ parked: 1 })
    expect(platform.stats().distinct).toBe(9)
  })

  it('[ORD-7, ORD-6] parked as paid, it holds back its own cancellation until it is replayed; others go on', async () => {
    const [bad, good] = [await order(1), await order(2)]
    platform.behave({ mode: 'error', status: 422, orderIds: [bad] })
    start({ maxAttempts: 2, random: () => 0 })
    await until('the event to be parked', async () => (await rowOf(bad)).parked_at !== null)
    expect((await harness.cancel(bad)).status).toBe(200)
    expect((await harness.cancel(good)).status).toBe(200)
    relay?.wake()
    await until('the other order', async () => (await backlog()).pending === 1)
    expect(platform.events().map(({ order: { id } }) => id)).toEqual([good, good])
    expect(await rowOf(bad, 'order.canceled')).toMatchObject({ attempts: 0, delivered_at: null })
    expect(await backlog()).toMatchObject({ pending: 1, parked: 1 })

    platform.behave({ mode: 'ok' })
    expect(await replayParked(harness.deps.db, { orderId: bad }, Date.now())).toBe(1)
    await untilDelivered(harness)
    const types = platform.events().flatMap(({ order: { id }, type }) => (id === bad ? [type] : []))
    expect(types).toEqual(['order.paid', 'order.canceled'])
    await expectAllArrived(harness, platform)
  })
})

describe('a relay', () => {
  it('[ORD-7] that stops gives a post 2 s, then gives its events back as if it had never claimed them', async () => {
    platform.behave({ mode: 'stall' })
    const orderId = await order(1)
    start({ platform: createPlatform({ url: platform.eventsUrl, timeoutMs: 60_000 }) })
    await until('a post under way', async () => platform.stats().failed === 1)
    expect((await rowOf(orderId)).attempts).toBe(1)
    const startedAt = performance.now()
    await relay?.stop()
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    expect(await rowOf(orderId)).toMatchObject({ attempts: 0, due: '-infinity', last_error: null })
  })

  it('[ORD-7] does not touch what another has claimed before the claim has ended', async () => {
    const orderId = await order(1)
    const lease = new Date(clock.wall + 5000)
    await harness.sql`update outbox_events set due_at = ${lease}, attempts = 1`
    start()
    const late = await order(2)
    await until('the other order', async () => platform.stats().distinct === 1)
    expect(platform.events()[0]?.order.id).toBe(late)
    expect((await rowOf(orderId)).attempts).toBe(1)
    clock.wall += 5000
    await untilDelivered(harness)
  })

  it('[ORD-7] deletes delivered events when they are old enough, and no other', async () => {
    await harness.sql`insert into orders
      (id, user_id, status, total_amount, discount_amount, final_amount, created_at)
      select gen_random_uuid(), 1, 'FAILED', 1, 0, 1, now() from generate_series(1, 2504)`
    await harness.sql`insert into outbox_events (event_id, type, order_id, occurred_at, payload)
      select gen_random_uuid(), 'order.paid', id, now(), '{}' from orders`
    const [old, young] = [new Date(clock.wall - 72 * hourMs - 1000), new Date(clock.wall - 71 * hourMs)]
    await harness.sql`update outbox_events set delivered_at = ${old}`
    const [first] = await harness.sql`select min(position) as position from outbox_events`
    const at = (index: number) => first?.position + index
    await harness.sql`update outbox_events set delivered_at = ${young} where position = ${at(0)}`
    await harness.sql`update outbox_events set delivered_at = null, parked_at = ${old} where position = ${at(1)}`
    await harness.sql`update outbox_events set delivered_at = null, due_at = ${new Date(clock.wall + hourMs)}
      where position in (${at(2)}, ${at(3)})`
    start()
    await until('the rest to be gone', async () => stats().pruned === 2500)
    const left = await harness.sql`select position from outbox_events order by position`
    expect(left.map(({ position }) => position)).toEqual([at(0), at(1), at(2), at(3)])
  })
})
