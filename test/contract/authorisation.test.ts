import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, adminToken, type Harness, startHarness } from '../setup/harness.ts'
import { type Call, callOf, type Operation, operationsOf } from '../setup/operations.ts'
import { badTokens, claimsOf, goodToken, type Mode, secret, serveKeys } from '../setup/tokens.ts'

const userId = 11
const stranger = 12
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

describe.each<Mode>(['secret', 'keySet'])('every route of the document, tokens by %s', (mode) => {
  let open: Harness
  let harness: Harness
  let issuer: Awaited<ReturnType<typeof serveKeys>>
  let operations: Operation[]
  let ids: { orderId?: string; productId?: number; couponId?: string } & Record<string, unknown>

  beforeAll(async () => {
    open = await startHarness()
    issuer = await serveKeys()
    harness = await startHarness({
      on: open.on,
      env: mode === 'secret' ? { AUTH_JWT_SECRET: secret } : { AUTH_JWKS_URL: issuer.url },
    })
    operations = operationsOf((await harness.get('/openapi.json')).body)
    const [policyId, productId] = [await open.policy(), await open.product()]
    const coupon = await open.issue(await open.policy(), stranger)
    await open.charge(userId, 100_000)
    const order = await open.order(userId, productId)
    expect([coupon.status, order.status]).toEqual([201, 201])
    const date = '2026-01-31'
    ids = { userId, policyId, productId, couponId: coupon.body.id, orderId: order.body.id, date }
  })
  afterAll(async () => {
    await harness.stop()
    await issuer.stop()
    await open.stop()
  })

  /** A call of each route for an audience that is in order but for the token. */
  const callsFor = (audience: string): (Call & { where: string })[] =>
    operations
      .filter((operation) => operation.audience === audience)
      .map((operation) => ({ ...callOf(operation, ids), where: `${operation.method} ${operation.path}` }))
  const send = ({ method, path, body }: Call, headers: Record<string, string> = {}): Promise<Answer> =>
    harness.call(method, path, body, headers)

  async function expectUnauthenticated(call: Call, headers: Record<string, string>, what: string) {
    const answer = await send(call, headers)
    expect([answer.status, answer.body.code], what).toEqual([401, 'UNAUTHENTICATED'])
    expect(answer.headers.get('www-authenticate'), what).toMatch(/^Bearer/)
    expect(JSON.stringify(answer.body), what).not.toMatch(/expired|signature|algorithm/i)
    expect(answer.body.detail, what).toBe(answer.body.title)
  }

  it('[ALL-3] says whom it is for', () => {
    expect(operations.length).toBeGreaterThanOrEqual(18)
    for (const { method, path, audience, statuses } of operations) {
      expect(['everyone', 'user', 'admin'], `${method} ${path}`).toContain(audience)
      if (audience !== 'everyone') expect(statuses, path).toEqual(expect.arrayContaining(['401', '403']))
      if (audience === 'user' && method === 'POST') expect(statuses, path).toContain('429')
      const isPublic = method === 'GET' && /^\/v1\/(products|coupon-policies)/.test(path)
      const expected = path.startsWith('/v1/admin/') ? 'admin' : isPublic ? 'everyone' : 'user'
      expect(audience, `${method} ${path}`).toBe(expected)
    }
  })

  it('[ALL-3] that is for everyone asks for no token, and minds none', async () => {
    for (const call of callsFor('everyone')) {
      for (const headers of [{}, bearer('rubbish'), bearer(adminToken)]) {
        expect([200, 404], call.where).toContain((await send(call, headers)).status)
      }
    }
  })

  it('[ALL-3] that is for users refuses whoever has no valid token', async () => {
    const good = goodToken(mode, claimsOf(userId))
    for (const call of callsFor('user')) {
      await expectUnauthenticated(call, {}, call.where)
      await expectUnauthenticated(call, bearer(adminToken), call.where)
      for (const value of ['', 'Bearer', `Basic ${good}`, good, `Bearer ${good} ${good}`]) {
        await expectUnauthenticated(call, { Authorization: value }, `${call.where} ${value}`)
      }
      for (const [fault, token] of Object.entries(badTokens(mode, userId))) {
        await expectUnauthenticated(call, bearer(token), `${call.where}: ${fault}`)
      }
    }
  })

  it('[ALL-3] judges who calls before anything of the body', async () => {
    const locked = await startHarness({ on: open.on, env: { ADMIN_TOKEN: '' } })
    const strange = [
      { 'Content-Type': 'text/plain' },
      { 'Content-Type': 'application/json', 'Content-Length': '70000' },
    ]
    for (const call of [...callsFor('user'), ...callsFor('admin')].filter(
      ({ method }) => method === 'POST',
    )) {
      for (const headers of strange) {
        const { status, body } = await harness.call('POST', call.path, '{', headers)
        expect([status, body.code], call.where).toEqual([401, 'UNAUTHENTICATED'])
        if (!call.path.startsWith('/v1/admin/')) continue
        const forbidden = await locked.call('POST', call.path, '{', headers)
        expect([forbidden.status, forbidden.body.code], call.where).toEqual([403, 'FORBIDDEN'])
      }
    }
    await locked.stop()
  })

  it("[ALL-3] that is for users refuses another user's token", async () => {
    const before = await open.sql`select (select count(*) from orders), (select count(*) from coupons),
      (select count(*) from balance_entries), (select array_agg(status) from orders) as statuses`
    for (const call of callsFor('user')) {
      const { status, body } = await send(call, bearer(goodToken(mode, claimsOf(stranger))))
      const expected = call.path.includes(String(ids.orderId)) ? 'ORDER_NOT_FOUND' : 'FORBIDDEN'
      expect(body.code, `${call.where} ${status}`).toBe(expected)
      expect(JSON.stringify(body)).not.toContain('balance":')
    }
    const after = await open.sql`select (select count(*) from orders), (select count(*) from coupons),
      (select count(*) from balance_entries), (select array_agg(status) from orders) as statuses`
    expect(after).toEqual(before)
  })

  it("[ALL-3, CPN-5] that orders refuses another user's coupon as if there were none", async () => {
    const body = {
      userId,
      items: [{ productId: ids.productId, quantity: 1 }],
      couponId: ids.couponId,
    }
    const answer = await harness.call('POST', '/v1/orders', body, bearer(goodToken(mode, claimsOf(userId))))
    expect([answer.status, answer.body.code]).toEqual([404, 'COUPON_NOT_FOUND'])
  })

  it("[ALL-3] that is for users takes the right user's token", async () => {
    for (const claims of [
      claimsOf(userId),
      claimsOf(userId, { sub: userId, nbf: 1 }),
      { sub: `${userId}` },
    ]) {
      for (const call of callsFor('user')) {
        const { status, body } = await send(call, bearer(goodToken(mode, claims)))
        expect([200, 201, 409], `${call.where} ${body?.code}`).toContain(status)
      }
    }
  })

  it('[ALL-3] that is for the admin takes the admin token and no other', async () => {
    const users = goodToken(mode, claimsOf(userId))
    for (const call of callsFor('admin')) {
      await expectUnauthenticated(call, {}, call.where)
      for (const token of [
        users,
        'rubbish',
        `${adminToken}x`,
        secret,
        ...Object.values(badTokens(mode, 1)),
      ]) {
        await expectUnauthenticated(call, bearer(token), call.where)
      }
      expect([401, 403], call.where).not.toContain((await send(call, bearer(adminToken))).status)
    }
  })
})
