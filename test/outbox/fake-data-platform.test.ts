import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createEventStore } from '../../scripts/fake-data-platform/event-store.ts'
import { type FakeDataPlatform, startFakeDataPlatform } from '../../scripts/fake-data-platform.ts'

const program = join(import.meta.dirname, '../../scripts/fake-data-platform.ts')

let platform: FakeDataPlatform
beforeEach(async () => {
  platform = await startFakeDataPlatform()
})
afterEach(() => platform.stop())

const id = (number: number) => `01900000-0000-7000-8000-${String(number).padStart(12, '0')}`
const event = (eventId: number, orderId: number, type = 'order.paid') => ({
  eventId: id(eventId),
  type,
  occurredAt: '2026-11-22T00:00:00.000Z',
  order: { id: id(orderId), userId: 1, status: type === 'order.paid' ? 'PAID' : 'CANCELED' },
})

async function call(method: string, path: string, body?: unknown, url = platform.url) {
  const response = await fetch(url + path, {
    method,
    headers: { 'Content-Type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(1000),
  })
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came, and asserts on it
  return { status: response.status, body: (await response.json()) as any }
}
const post = (...events: ReturnType<typeof event>[]) => call('POST', '/events', { events })
const behave = (behaviour: unknown) => call('POST', '/behaviour', behaviour)

describe('the fake data platform', () => {
  it('[ORD-7] keeps events, shows them by page and by order, and forgets them when told', async () => {
    expect(await post(event(1, 10), event(2, 11))).toEqual({ status: 200, body: { accepted: 2 } })
    await post(event(3, 10, 'order.canceled'))
    const page = await call('GET', '/events?limit=2')
    expect(page.body.items).toMatchObject([
      { ...event(1, 10), sequence: 1, times: 1 },
      { ...event(2, 11), sequence: 2 },
    ])
    const rest = await call('GET', `/events?limit=2&after=${page.body.nextAfter}`)
    expect(rest.body).toMatchObject({ items: [{ sequence: 3 }], nextAfter: null })
    const ofOrder = await call('GET', `/events?orderId=${id(10)}`)
    expect(ofOrder.body.items.map(({ type }: { type: string }) => type)).toEqual([
      'order.paid',
      'order.canceled',
    ])
    expect((await call('DELETE', '/events')).body).toMatchObject({ received: 0, distinct: 0, kept: 0 })
    expect((await call('GET', '/events')).body.items).toEqual([])
  })

  it('[ORD-7] counts repetitions by event id, and tells when one differs', async () => {
    await post(event(1, 10), event(1, 10))
    await post(event(1, 10))
    expect((await call('GET', '/stats')).body).toMatchObject({
      received: 3,
      distinct: 1,
      duplicates: 2,
      conflicts: 0,
    })
    await post(event(1, 11))
    expect((await call('GET', '/stats')).body).toMatchObject({ duplicates: 3, conflicts: 1 })
  })

  it('[ORD-7] tells when events of an order first come in the wrong order, and does not mind repetitions', async () => {
    await post(event(1, 10), event(2, 10, 'order.canceled'), event(1, 10))
    expect(platform.stats().orderViolations).toBe(0)
    await post(event(3, 11, 'order.canceled'), event(4, 11))
    expect(platform.stats().orderViolations).toBe(1)
  })

  it('[ORD-7] answers an error, stalls, or drops the connection, as told', async () => {
    expect((await behave({ mode: 'error' })).status).toBe(200)
    expect((await post(event(1, 10))).status).toBe(500)
    await behave({ mode: 'error', status: 429 })
    expect((await post(event(1, 10))).status).toBe(429)
    await behave({ mode: 'stall' })
    await expect(post(event(1, 10))).rejects.toMatchObject({ name: 'TimeoutError' })
    await behave({ mode: 'drop' })
    await expect(post(event(1, 10))).rejects.toThrow('fetch failed')
    expect(platform.stats()).toMatchObject({ received: 0, failed: 4 })
    await behave({ mode: 'drop', keep: true })
    await expect(post(event(1, 10))).rejects.toThrow('fetch failed')
    await behave({ mode: 'error', orderIds: [id(11)] })
    expect((await post(event(2, 10), event(3, 11))).status).toBe(500)
    expect((await post(event(2, 10))).status).toBe(200)
    expect(platform.stats()).toMatchObject({ received: 2, distinct: 2, failed: 6 })
  })

  it('[ORD-7] refuses what is no batch of events, or no behaviour', async () => {
    for (const body of [undefined, {}, { events: [] }, { events: [{ eventId: 'x' }] }, []]) {
      expect((await call('POST', '/events', body)).status).toBe(400)
    }
    for (const body of [{ mode: 'sleep' }, { mode: 'ok', status: 200 }, { mode: 'ok', more: 1 }]) {
      expect((await behave(body)).status).toBe(400)
    }
    for (const query of ['limit=0', 'limit=1001', 'after=-1', 'orderId=1']) {
      expect((await call('GET', `/events?${query}`)).status).toBe(400)
    }
    expect(platform.stats()).toMatchObject({ received: 0, behaviour: { mode: 'ok' } })
  })

  it('[ORD-7] remembers a bounded number of events, and goes on counting', () => {
    const store = createEventStore(3)
    store.add([event(1, 10), event(2, 11), event(3, 12), event(4, 10), event(5, 13)])
    expect(store.list(0, 100).map(({ sequence }) => sequence)).toEqual([3, 4, 5])
    expect(store.list(0, 100, id(10)).map(({ sequence }) => sequence)).toEqual([4])
    expect(store.stats()).toMatchObject({ received: 5, distinct: 5, kept: 3 })
  })

  it('[ORD-7] is a program: it prints its URL, and SIGTERM ends it at once, also while it stalls', async () => {
    const child = spawn(process.execPath, [program], {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [line] = await once(createInterface(child.stdout), 'line')
      const [, url] = /(http:\/\/127\.0\.0\.1:\d+) /.exec(line) ?? []
      expect(line).toContain(`DATA_PLATFORM_URL=${url}/events`)
      expect((await call('GET', '/readyz', undefined, url)).status).toBe(200)
      await call('POST', '/behaviour', { mode: 'stall' }, url)
      const stalled = call('POST', '/events', { events: [event(1, 10)] }, url).catch(() => 'no answer')
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      expect(await exited).toEqual([0, null])
      expect(await stalled).toBe('no answer')
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('[ORD-7] says in one line that its port is taken', async () => {
    const child = spawn(process.execPath, [program], {
      env: { ...process.env, PORT: new URL(platform.url).port },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const [line] = await once(createInterface(child.stderr), 'line')
    expect(line).toMatch(/^fake data platform: .*EADDRINUSE/)
    const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
    expect(code).toBe(1)
  })
})
