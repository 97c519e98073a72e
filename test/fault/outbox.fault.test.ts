import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { pickPort } from '../../scripts/embedded/port.ts'
import { type FakeDataPlatform, startFakeDataPlatform } from '../../scripts/fake-data-platform.ts'
import { readBacklog } from '../../src/outbox/backlog.ts'
import { createDatabase, type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { buyers, chargeUsers, expectAllArrived, untilDelivered } from '../setup/outbox.ts'
import { startPrivatePostgres } from '../setup/private-stores.ts'
import { inParallel, type ServerProcess, startServer } from '../setup/server.ts'

const orderCount = 500
const backWithinMs = 40_000
/** a claim of a relay that was killed ends after the first and three times the second */
const shortClaims = { OUTBOX_TIMEOUT_MS: '500', DATABASE_TIMEOUT_MS: '1000' }

let port: number
let platform: FakeDataPlatform
let harness: Harness
let productId: number
let servers: ServerProcess[]
let others: Harness[]
beforeEach(async () => {
  servers = []
  others = []
  port = await pickPort()
  platform = await startFakeDataPlatform({ port })
  harness = await startHarness({ env: { DATA_PLATFORM_URL: platform.eventsUrl, ...shortClaims } })
  productId = await harness.product({ stock: 5000, price: 100 })
  await chargeUsers(harness, buyers(50))
})
afterEach(async () => {
  await Promise.all(servers.map((server) => server.kill('SIGKILL')))
  await Promise.all(others.map((other) => other.stop()))
  await harness.stop()
  await platform.stop()
})

async function startProcess(roles: string, env: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(harness.on, {
    ROLES: roles,
    DATA_PLATFORM_URL: platform.eventsUrl,
    ...shortClaims,
    ...env,
  })
  servers.push(server)
  return server
}

/** Places orders, and cancels every tenth. Gives how long each order took, sorted, ms. */
async function placeOrders(count = orderCount, by: Harness[] = [harness]): Promise<number[]> {
  const times: number[] = []
  const answers = await inParallel(buyers(count), 32, async (number) => {
    const through = by[number % by.length] as Harness
    const startedAt = performance.now()
    const answer = await through.order(1 + (number % 50), productId)
    times.push(performance.now() - startedAt)
    return number % 10 === 0 ? through.cancel(answer.body.id) : answer
  })
  expect(tally(answers)).toEqual({ 201: count * 0.9, 200: count * 0.1 })
  return times.sort((a, b) => a - b)
}

const acknowledged = async () =>
  (await harness.sql`select count(*)::int as n from outbox_events where delivered_at is not null`)[0]?.n

describe(`during ${orderCount} orders the platform`, () => {
  it.each([
    ['answers 500', { mode: 'error' }],
    ['stalls', { mode: 'stall' }],
    ['takes the events and drops the connection', { mode: 'drop', keep: true }],
    ['is down', undefined],
  ] as const)(
    '[ORD-7] %s: no order fails or waits for it, and all events arrive when it is back',
    async (what, behaviour) => {
      if (behaviour) platform.behave(behaviour)
      else await platform.stop()
      // A program that has just started is slower.
      await placeOrders(200)
      harness.outbox.startRelay()
      const away = await placeOrders()
      // Every order has its answer, and not one event was acknowledged: none can have waited for that.
      expect(await acknowledged()).toBe(0)
      expect(await readBacklog(harness.deps.db, Date.now())).toMatchObject({
        pending: ((200 + orderCount) * 11) / 10,
        parked: 0,
      })
      await until('the platform to fail', async () => (harness.outbox.stats()?.failedPosts ?? 0) > 0)

      if (behaviour) platform.behave({ mode: 'ok' })
      else platform = await startFakeDataPlatform({ port })
      await untilDelivered(harness, backWithinMs)
      await expectAllArrived(harness, platform)
      if (what.startsWith('takes')) expect(platform.stats().duplicates).toBeGreaterThan(0)
      else expect(platform.stats().duplicates).toBe(0)

      const well = await placeOrders()
      await untilDelivered(harness, backWithinMs)
      await expectAllArrived(harness, platform)
      await expectConsistent(harness)
      const median = (times: number[]) => times[times.length >> 1]?.toFixed(1)
      console.log(
        `outbox, platform ${what}: median order ${median(away)} ms, when it is well ${median(well)} ms`,
      )
    },
  )
})

describe('several relays at once', () => {
  it('[ORD-7] share the work, and send nothing twice', async () => {
    const env = { DATA_PLATFORM_URL: platform.eventsUrl, OUTBOX_BATCH: '10' }
    for (let number = 0; number < 3; number++) others.push(await startHarness({ on: harness.on, env }))
    await placeOrders(300)
    // A relay has four posts of ten events under way at most, so one alone would take long.
    platform.behave({ mode: 'ok', delayMs: 50 })
    for (const { outbox } of others) outbox.startRelay()
    await placeOrders(300, others)
    await untilDelivered(harness, backWithinMs)
    await expectAllArrived(harness, platform)
    const delivered = others.map(({ outbox }) => outbox.stats()?.delivered ?? 0)
    expect(Math.min(...delivered)).toBeGreaterThan(0)
    expect(delivered.reduce((sum, each) => sum + each)).toBe(660)
    expect(platform.stats().duplicates).toBe(0)
  })
})

describe('a relay that is killed with SIGKILL', () => {
  it('[ORD-7] with posts under way that nobody answers: nothing is lost', async () => {
    platform.behave({ mode: 'stall', keep: true })
    const worker = await startProcess('worker', { OUTBOX_TIMEOUT_MS: '2000' })
    await placeOrders()
    await until('a post under way', async () => platform.stats().received > 0)
    await worker.kill('SIGKILL')
    expect(await acknowledged()).toBe(0)
    platform.behave({ mode: 'ok' })
    await startProcess('worker')
    await untilDelivered(harness, backWithinMs)
    await expectAllArrived(harness, platform)
    expect(platform.stats().duplicates).toBeGreaterThan(0)
    await expectConsistent(harness)
  })

  it('[ORD-7] in the middle of a run, with another one there or soon after: nothing is lost', async () => {
    platform.behave({ mode: 'ok', delayMs: 20 })
    const [first, second] = [await startProcess('worker'), await startProcess('worker')]
    const placed = placeOrders()
    await until('the run to be under way', async () => platform.stats().received >= 50)
    await first.kill('SIGKILL')
    await until('more to arrive', async () => platform.stats().received >= 150)
    await second.kill('SIGKILL')
    await placed
    await startProcess('worker')
    await untilDelivered(harness, backWithinMs)
    await expectAllArrived(harness, platform)
    await expectConsistent(harness)
  })
})

describe('Postgres', () => {
  it('[ORD-7] is killed and away for a while, again and again: the relay goes on by itself', async () => {
    const postgres = await startPrivatePostgres()
    try {
      const database = await createDatabase(postgres.url)
      const own = await startHarness({ on: { database: database.url, redis: harness.on.redis } })
      others.push(own)
      await own.redis.flushdb()
      productId = await own.product({ stock: 100, price: 100 })
      await own.charge(1, 10_000)
      const worker = await startServer(own.on, {
        ROLES: 'worker',
        DATA_PLATFORM_URL: platform.eventsUrl,
        ...shortClaims,
      })
      servers.push(worker)
      const pids = () =>
        own.sql`select pid from pg_stat_activity where application_name = 'seonchak outbox listener'`
      for (let count = 1; count <= 3; count++) {
        await until('the relay to listen', async () => (await pids().catch(() => [])).length === 1)
        const order = await until('an order', async () => {
          const answer = await own.order(1, productId, { key: String(count) })
          return answer.status === 201 && answer
        })
        await until('its event', async () =>
          platform.events().some((event) => event.order.id === order.body.id),
        )
        await postgres.kill()
        // The relay finds nobody there, a few times, before Postgres comes back.
        const warnings = () => worker.lines.filter((line) => line.includes('cannot be claimed')).length
        const before = warnings()
        await until('the relay to notice', async () => warnings() >= before + 2)
        await postgres.restart()
      }
      expect(await worker.kill('SIGTERM')).toEqual({ code: 0, signal: null })
    } finally {
      await Promise.all(others.map((other) => other.stop()))
      others = []
      await postgres.remove()
    }
  })
})

describe('a process that is stopped with SIGTERM', () => {
  it('[ORD-7, ALL-1] while the platform stalls: it ends in time, and its events are free at once', async () => {
    platform.behave({ mode: 'stall' })
    const server = await startProcess('api,worker', { OUTBOX_TIMEOUT_MS: '30000' })
    const order = await server.post('/v1/orders', { userId: 1, items: [{ productId, quantity: 1 }] })
    expect(order.status).toBe(201)
    await until('a post under way', async () => platform.stats().failed === 1)
    expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
    const [row] = await harness.sql`select attempts, due_at::text as due from outbox_events`
    expect(row).toEqual({ attempts: 0, due: '-infinity' })
    platform.behave({ mode: 'ok' })
    await startProcess('worker')
    await untilDelivered(harness)
    await expectAllArrived(harness, platform)
  })

  it('[ORD-7, ALL-1] in the middle of a run: what it answered is sent, by itself or by the next', async () => {
    platform.behave({ mode: 'ok', delayMs: 20 })
    const server = await startProcess('api,worker')
    const answers = inParallel(buyers(200), 32, (number) =>
      server
        .post('/v1/orders', { userId: 1 + (number % 50), items: [{ productId, quantity: 1 }] })
        .catch(() => undefined),
    )
    await until('the run to be under way', async () => platform.stats().received >= 30)
    expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
    const paid = (await answers).flatMap((answer) => (answer?.status === 201 ? [answer.body.id] : []))
    await startProcess('worker')
    await untilDelivered(harness)
    await expectAllArrived(harness, platform)
    const arrived = platform.events().map(({ order }) => order.id)
    expect(paid.filter((id) => !arrived.includes(id))).toEqual([])
    expect(platform.stats().duplicates).toBe(0)
  })
})

describe('a process without a relay', () => {
  const hour = { OUTBOX_POLL_MS: '600000' }
  const listenerPids = async () =>
    (
      await harness.sql`select pid from pg_stat_activity
        where datname = current_database() and application_name = 'seonchak outbox listener'`
    ).map(({ pid }) => pid as number)

  async function expectArrival(api: ServerProcess, count: number): Promise<number> {
    const order = await api.post('/v1/orders', { userId: 1, items: [{ productId, quantity: 1 }] })
    expect(order.status).toBe(201)
    const answeredAt = Date.now()
    await until('the event', async () => platform.stats().distinct === count)
    return Date.parse(platform.events().at(-1)?.receivedAt ?? '') - answeredAt
  }

  it('[ORD-7] wakes a relay in another process long before that polls', async () => {
    const [api] = [await startProcess('api', hour), await startProcess('worker', hour)]
    await until('the relay to listen', async () => (await listenerPids()).length === 1)
    const times: number[] = []
    for (let count = 1; count <= 20; count++) times.push(await expectArrival(api, count))
    times.sort((a, b) => a - b)
    console.log(
      `outbox, relay in another process: arrival after the answer: p50 ${times[9]} ms, most ${times[19]} ms`,
    )
  })

  it('[ORD-7] wakes it also after the connection that it listened on was lost', async () => {
    const [api] = [await startProcess('api', hour), await startProcess('worker', hour)]
    for (let count = 1; count <= 3; count++) {
      await until('the relay to listen', async () => (await listenerPids()).length === 1)
      const [lost] = await listenerPids()
      await harness.sql`select pg_terminate_backend(${lost as number})`
      await until('it to listen again', async () => {
        const pids = await listenerPids()
        return pids.length === 1 && pids[0] !== lost
      })
      await expectArrival(api, count)
    }
  })

  it('[ORD-7] tells relays at most some tens of times a second', async () => {
    const api = await startHarness({ on: harness.on })
    others.push(api)
    let told = 0
    const listening = await harness.sql.listen('outbox_events', () => {
      told++
    })
    const startedAt = performance.now()
    await placeOrders(orderCount, [api])
    await api.outbox.stop()
    await harness.sql`select pg_notify('outbox_events', 'the last one')`
    const seconds = (performance.now() - startedAt) / 1000
    await until('the notifications', async () => told > 1)
    expect(told).toBeLessThanOrEqual(3 + 20 * seconds)
    await listening.unlisten()
  })
})
