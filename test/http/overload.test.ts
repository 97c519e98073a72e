import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../src/app.ts'
import { createLookup } from '../../src/db/lookup.ts'
import { createDomains } from '../../src/domains.ts'
import { Unavailable } from '../../src/errors.ts'
import { gated } from '../setup/gate.ts'
import { type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { claimsOf, goodToken, secret } from '../setup/tokens.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

describe('the rate limit', () => {
  it('refuses the writes of a user beyond the quota, and those of nobody else', async () => {
    const limited = await startHarness({
      on: harness.on,
      env: { RATE_LIMIT_REQUESTS: '3', RATE_LIMIT_WINDOW_SECONDS: '60' },
    })
    const answers = []
    for (let call = 0; call < 5; call++) answers.push(await limited.charge(501, 10_000))
    expect(tally(answers)).toEqual({ 200: 3, RATE_LIMITED: 2 })
    const [first, , last, over] = answers
    expect(first?.headers.get('ratelimit-policy')).toBe('"user";q=3;w=60')
    expect(first?.headers.get('ratelimit')).toMatch(/^"user";r=2;t=(60|59)$/)
    expect(last?.headers.get('ratelimit')).toMatch(/^"user";r=0;t=\d+$/)
    expect(over?.headers.get('ratelimit')).toMatch(/^"user";r=0;t=\d+$/)
    expect(Number(over?.headers.get('retry-after'))).toBeGreaterThan(50)
    expect(over?.headers.get('content-type')).toBe('application/problem+json')
    expect(await limited.balance(501)).toBe(30_000)

    // By the user in the body, by that of the order, and by no other.
    const policyId = await limited.policy()
    expect((await limited.issue(policyId, 501)).body.code).toBe('RATE_LIMITED')
    expect((await limited.charge(502, 10_000)).status).toBe(200)
    const order = await limited.order(502, await limited.product())
    expect((await limited.cancel(order.body.id)).headers.get('ratelimit')).toMatch(/^"user";r=0/)
    expect((await limited.cancel(order.body.id)).body.code).toBe('RATE_LIMITED')
    await limited.stop()
  })

  it('counts by the user of the token, whatever the path says, and each write once', async () => {
    const limited = await startHarness({
      on: harness.on,
      env: { RATE_LIMIT_REQUESTS: '2', RATE_LIMIT_WINDOW_SECONDS: '60', AUTH_JWT_SECRET: secret },
    })
    const headers = { Authorization: `Bearer ${goodToken('secret', claimsOf(511))}` }
    const unknown = '/v1/orders/0192f0c1-7c1e-7000-8000-000000000000/cancel'
    const codes = []
    for (let call = 0; call < 3; call++) codes.push((await limited.post(unknown, {}, headers)).body.code)
    expect(codes).toEqual(['ORDER_NOT_FOUND', 'ORDER_NOT_FOUND', 'RATE_LIMITED'])
    await limited.stop()
  })

  it('[ALL-3] counts no read, and so no HEAD', async () => {
    const limited = await startHarness({
      on: harness.on,
      env: { RATE_LIMIT_REQUESTS: '1', RATE_LIMIT_WINDOW_SECONDS: '60' },
    })
    for (const method of ['HEAD', 'GET', 'HEAD']) {
      const answer = await limited.call(method, '/v1/users/515/balance')
      expect([answer.status, answer.headers.get('ratelimit')]).toEqual([200, null])
    }
    expect((await limited.charge(515, 10_000)).status).toBe(200)
    await limited.stop()
  })

  it('lets everything pass while Redis does not count, and is not there unless it is set', async () => {
    expect((await harness.charge(521, 10_000)).headers.get('ratelimit')).toBeNull()
    const limited = await startHarness({ on: harness.on, env: { RATE_LIMIT_REQUESTS: '1' } })
    limited.redis.disconnect()
    for (let call = 0; call < 3; call++) {
      const answer = await limited.charge(522, 10_000)
      expect([answer.status, answer.headers.get('ratelimit')]).toEqual([200, null])
    }
    await limited.stop()
  })
})

describe('the deadline of a request', () => {
  it('answers 503, and the write that was under way is not lost', async () => {
    const hasty = await startHarness({ on: harness.on, env: { REQUEST_TIMEOUT_MS: '100' } })
    const held = gated(hasty, 'commit')
    const path = '/v1/users/531/balance/charge'
    const late = await Promise.all(
      ['a', 'b'].map((key) => held.post(path, { amount: 10_000 }, { 'Idempotency-Key': key })),
    )
    for (const { status, body, headers } of late) {
      expect([status, body.code, headers.get('retry-after')]).toEqual([503, 'UNAVAILABLE', '1'])
    }
    held.open()
    await until('both charges', async () => (await harness.balance(531)) === 20_000)
    const again = await harness.charge(531, 10_000, { 'Idempotency-Key': 'a' })
    expect([again.status, again.headers.get('idempotent-replayed')]).toEqual([200, 'true'])
    expect(await harness.balance(531)).toBe(20_000)
    await hasty.stop()
  })
})

describe('a policy that has not started', () => {
  it('is refused from memory from more than a second before its start, and by Redis from then on', async () => {
    const startsAt = Date.now() + 60_000
    const policyId = await harness.policy({ issueStartsAt: new Date(startsAt).toISOString() })
    const state = { now: Date.now() }
    const observed = await startHarness({ on: harness.on, ambient: { now: () => state.now } })
    await observed.get(`/v1/coupon-policies/${policyId}`)
    observed.redis.disconnect()
    expect((await observed.issue(policyId, 1)).body.code).toBe('COUPON_NOT_STARTED')
    state.now = startsAt - 1001
    expect((await observed.issue(policyId, 1)).body.code).toBe('COUPON_NOT_STARTED')
    state.now = startsAt - 1000
    expect((await observed.issue(policyId, 1)).status).toBe(503)
    await observed.stop()
  })
})

describe('ids that do not exist', () => {
  it('do not reach Postgres again and again, by any route', async () => {
    const productId = await harness.product()
    let statements = 0
    const db = new Proxy(harness.deps.db, {
      get(target, name) {
        if (name === 'select' || name === 'execute') statements++
        return Reflect.get(target, name)
      },
    })
    const deps = { ...harness.deps, db }
    const app = buildApp(deps, () => true, createDomains(deps))
    const unknown = 987_654_321
    const line = (id: number) => ({ productId: id, quantity: 1 })
    const codes: Record<string, number> = {}
    async function ask(path: string, body?: unknown): Promise<void> {
      const post = {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      }
      const { code } = (await (await app.request(path, body ? post : {})).json()) as { code: string }
      codes[code] = (codes[code] ?? 0) + 1
    }
    const round = () => [
      ask(`/v1/products/${unknown}`),
      ask('/v1/orders', { userId: 1, items: [line(unknown)] }),
      ask('/v1/orders', { userId: 1, items: [line(productId), line(unknown)] }),
      ask(`/v1/coupon-policies/${unknown}`),
      ask(`/v1/coupon-policies/${unknown}/issue`, { userId: 1 }),
    ]
    for (let again = 0; again < 4; again++) await Promise.all(Array.from({ length: 50 }, round).flat())
    expect(codes).toEqual({ PRODUCT_NOT_FOUND: 600, COUPON_POLICY_NOT_FOUND: 400 })
    // One for the product, one for the policy; each again where the run takes longer than a second.
    expect(statements).toBeGreaterThanOrEqual(2)
    expect(statements).toBeLessThan(30)
  })

  it('are there as soon as they are made here', async () => {
    const [row] = await harness.sql`select coalesce(max(id), 0)::int as last from coupon_policies`
    const next = Number(row?.last) + 1
    expect((await harness.issue(next, 1)).body.code).toBe('COUPON_POLICY_NOT_FOUND')
    expect(await harness.policy()).toBe(next)
    expect((await harness.issue(next, 1)).status).toBe(201)
  })

  it('are looked up together, one statement at a time, in a queue with a bound', async () => {
    const read: number[][] = []
    const gate = Promise.withResolvers<void>()
    const lookup = createLookup<{ id: number }>({
      maxKnown: 10_000,
      read: async (ids) => {
        read.push(ids)
        await gate.promise
        return ids.filter((id) => id % 2 === 0).map((id) => ({ id }))
      },
    })
    const ids = Array.from({ length: 5001 }, (_, index) => index + 1)
    const found = ids.map((id) => lookup.find(id))
    const shared = lookup.find(5001)
    await expect(lookup.find(9999)).rejects.toThrow(Unavailable)
    lookup.learn({ id: 4999 })
    gate.resolve()
    expect((await Promise.all(found)).filter((row) => row)).toHaveLength(2501)
    expect(await shared).toBeUndefined()
    expect(await lookup.find(4999)).toEqual({ id: 4999 })
    expect(read.map(({ length }) => length)).toEqual([1, ...Array(10).fill(500)])
    expect(await lookup.find(4997)).toBeUndefined()
    expect(read).toHaveLength(11)
  })

  it('are asked for again after a read that failed', async () => {
    let failures = 1
    const lookup = createLookup<{ id: number }>({
      maxKnown: 10_000,
      read: async (ids) => {
        if (failures-- > 0) throw new Unavailable('away')
        return ids.map((id) => ({ id }))
      },
    })
    await expect(lookup.find(1)).rejects.toThrow('away')
    expect(await lookup.find(1)).toEqual({ id: 1 })
  })
})
