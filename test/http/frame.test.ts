import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildApp } from '../../src/app.ts'
import { openDeps } from '../../src/deps.ts'
import { Unavailable } from '../../src/errors.ts'
import { adminToken, type Harness, startHarness } from '../setup/harness.ts'

const secret = 'secret: 10.0.0.7 refused user shop_admin'
const logged: string[] = []
const madeId = /^made-id-[a-z\d]+$/
let harness: Harness

beforeAll(async () => {
  harness = await startHarness({
    ambient: { newId: () => 'made-id', log: pino({}, { write: (line: string) => void logged.push(line) }) },
  })
  harness.app.get('/boom', () => {
    throw new Error(secret)
  })
  harness.app.get('/away', () => {
    throw new Unavailable(secret)
  })
})
afterAll(() => harness.stop())
beforeEach(() => void logged.splice(0))

describe('what no route takes', () => {
  it('[ALL-3] is 404 as a problem document with all its members', async () => {
    const { status, body, headers } = await harness.get('/v1/nothing?of=this')
    expect(status).toBe(404)
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(body).toEqual({
      type: 'urn:seonchak:problem:not-found',
      title: 'There is no such route',
      status: 404,
      code: 'NOT_FOUND',
      detail: 'There is no such route',
      instance: '/v1/nothing',
      requestId: expect.stringMatching(madeId),
    })
  })

  it.each([
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/'],
    ['POST', '/v1'],
    ['POST', '/v1/'],
    ['GET', '/V1/coupon-policies/1'],
    ['GET', '/v1/coupon-policies/1/'],
    ['GET', '/v1/coupon-policies//issue'],
    ['GET', '/v2/coupon-policies/1'],
    ['POST', '/v1/nothing'],
    ['GET', '/docs/swagger-uiXcss'],
    ['GET', '/docs/../package.json'],
    ['GET', '/docs/%2e%2e/package.json'],
  ])('is 404 for %s %s', async (method, path) => {
    const { status, body, headers } = await harness.call(method, path)
    expect([status, body.code, headers.get('allow')]).toEqual([404, 'NOT_FOUND', null])
  })

  it('is 405 with Allow where the path exists under another method', async () => {
    const { status, body, headers } = await harness.call('DELETE', '/v1/coupon-policies/1/issue')
    expect(status).toBe(405)
    expect(headers.get('allow')).toBe('POST')
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(body).toMatchObject({ code: 'METHOD_NOT_ALLOWED', instance: '/v1/coupon-policies/1/issue' })
    expect((await harness.call('PUT', '/livez')).headers.get('allow')).toBe('GET, HEAD')
  })
})

describe('X-Request-Id', () => {
  it.each(['a', 'A-z_09.:=+/@~-', '0192f0c1-7c1e-7000-8000-000000000000', 'x'.repeat(128)])(
    'is taken over from the caller when it is safe: %s',
    async (id) => {
      const found = await harness.call('GET', '/livez', undefined, { 'X-Request-Id': id })
      expect(found.headers.get('x-request-id')).toBe(id)
      const refused = await harness.call('GET', '/nothing', undefined, { 'X-Request-Id': id })
      expect([refused.headers.get('x-request-id'), refused.body.requestId]).toEqual([id, id])
    },
  )

  it.each([
    '',
    'two words',
    'x'.repeat(129),
    '<script>',
    'a"b',
    "a'b",
    'a,b',
    'a;b',
    '{a}',
    'a\tb',
    'é',
    '$(id)',
    '%0a',
  ])('is made anew when the one given is not safe: %j', async (id) => {
    const found = await harness.call('GET', '/livez', undefined, { 'X-Request-Id': id })
    expect(found.headers.get('x-request-id')).toMatch(madeId)
  })

  it('is another for each request that brings none', async () => {
    const ids = await Promise.all(
      Array.from({ length: 100 }, async () => (await harness.get('/livez')).headers.get('x-request-id')),
    )
    expect(new Set(ids).size).toBe(100)
  })

  it.each([
    ['GET', '/boom', 500],
    ['GET', '/away', 503],
    ['GET', '/nothing', 404],
    ['DELETE', '/livez', 405],
    ['POST', '/v1/admin/coupon-policies', 401],
    ['GET', '/v1/users/0/coupons', 400],
    ['HEAD', '/livez', 200],
  ])('is on every answer: %s %s', async (method, path, status) => {
    const found = await harness.call(method, path, undefined, { 'X-Request-Id': 'mine' })
    expect([found.status, found.headers.get('x-request-id')]).toEqual([status, 'mine'])
    if (status >= 400) expect(found.body.requestId).toBe('mine')
  })
})

describe('admin routes', () => {
  const ask = (headers: Record<string, string>, on = harness) =>
    on.call('POST', '/v1/admin/coupon-policies', {}, headers)

  it('answer 403 to everybody while no token is configured', async () => {
    const open = await startHarness({ env: { ADMIN_TOKEN: '' }, on: harness.on })
    for (const headers of [
      {},
      { Authorization: 'Bearer ' },
      { Authorization: `Bearer ${adminToken}` },
      { Authorization: 'Bearer undefined' },
    ]) {
      const { status, body } = await ask(headers, open)
      expect([status, body.code]).toEqual([403, 'FORBIDDEN'])
    }
    await open.stop()
  })

  it.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    adminToken,
    `Basic ${adminToken}`,
    `Bearer ${adminToken}x`,
    `Bearer ${adminToken.slice(0, -1)}`,
    `Bearer ${adminToken.toUpperCase()}`,
    `Bearer ${adminToken} ${adminToken}`,
    `Bearer x${adminToken}`,
  ])('answer 401 with WWW-Authenticate to Authorization: %s', async (authorization) => {
    const { status, body, headers } = await ask(
      authorization === undefined ? {} : { Authorization: authorization },
    )
    expect([status, body.code, headers.get('www-authenticate')]).toEqual([401, 'UNAUTHENTICATED', 'Bearer'])
  })

  it('answer 401 before anything else is looked at, also where there is no route', async () => {
    expect((await harness.call('GET', '/v1/admin/nothing')).status).toBe(401)
    expect((await harness.call('POST', '/v1/admin/coupon-policies', '{')).status).toBe(401)
  })

  it.each([`Bearer ${adminToken}`, `bearer ${adminToken}`, `Bearer   ${adminToken}`])(
    'let the holder of the token pass: %s',
    async (authorization) => {
      const { status, body } = await ask({ Authorization: authorization })
      expect([status, body.code]).toEqual([400, 'VALIDATION_FAILED'])
    },
  )
})

describe('probes', () => {
  it('say that the process lives, and that it is ready while it serves and both stores answer', async () => {
    expect(await harness.get('/livez')).toMatchObject({ status: 200, body: { status: 'live' } })
    expect(await harness.get('/readyz')).toMatchObject({ status: 200, body: { status: 'ready' } })
  })

  it('say that a process that starts or drains lives and is not ready', async () => {
    const app = buildApp(harness.deps, () => false, undefined)
    expect((await app.request('/livez')).status).toBe(200)
    const response = await app.request('/readyz')
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    expect(await response.json()).toMatchObject({ code: 'UNAVAILABLE', instance: '/readyz' })
  })

  it.each([
    ['redis', { REDIS_URL: 'redis://127.0.0.1:1' }],
    ['db', { DATABASE_URL: 'postgres://postgres@127.0.0.1:1/nowhere' }],
  ])('say that the process is not ready while %s is out of reach', async (store, env) => {
    const elsewhere = openDeps({ ...harness.env, ...env })
    const app = buildApp(
      { ...harness.deps, [store]: elsewhere[store as 'redis' | 'db'] },
      () => true,
      undefined,
    )
    expect((await app.request('/livez')).status).toBe(200)
    expect((await app.request('/readyz')).status).toBe(503)
    await elsewhere.close()
  })

  it('are all that a process without the api role serves', async () => {
    const app = buildApp(harness.deps, () => true, undefined)
    const statuses = ['/livez', '/readyz', '/v1/coupon-policies/1', '/openapi.json', '/docs'].map(
      async (path) => (await app.request(path)).status,
    )
    expect(await Promise.all(statuses)).toEqual([200, 200, 404, 404, 404])
  })
})

describe('HEAD', () => {
  it.each(['/livez', '/readyz', '/openapi.json', '/docs', '/v1/users/1/coupons'])(
    'on %s answers like GET, without the body',
    async (path) => {
      const [get, head] = [
        await harness.app.request(path, { headers: { 'X-Request-Id': 'mine' } }),
        await harness.app.request(path, { method: 'HEAD', headers: { 'X-Request-Id': 'mine' } }),
      ]
      expect(head.status).toBe(200)
      expect(await head.text()).toBe('')
      expect(Object.fromEntries(head.headers)).toEqual(Object.fromEntries(get.headers))
    },
  )
})

describe('what was thrown', () => {
  it.each([
    ['/boom', 500, 'INTERNAL', 'Something broke on our side', null],
    ['/away', 503, 'UNAVAILABLE', 'The service cannot take this request now', '1'],
  ])('[ALL-3] by %s goes to the log and not to the client', async (path, status, code, title, retryAfter) => {
    const { headers, body, ...answer } = await harness.call('GET', path)
    expect(answer.status).toBe(status)
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(headers.get('retry-after')).toBe(retryAfter)
    expect(body).toEqual({
      type: `urn:seonchak:problem:${code.toLowerCase()}`,
      title,
      status,
      code,
      detail: title,
      instance: path,
      requestId: expect.stringMatching(madeId),
    })
    expect(logged).toHaveLength(1)
    expect(JSON.parse(logged[0] ?? '')).toMatchObject({
      err: { message: secret, stack: expect.stringContaining('frame.test.ts') },
      requestId: expect.stringMatching(madeId),
      method: 'GET',
      path,
    })
  })
})
