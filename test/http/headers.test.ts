import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHttpServer } from '../../src/http/server.ts'
import { adminToken, type Harness, startHarness } from '../setup/harness.ts'

const shop = 'https://shop.example'
let harness: Harness
let open: Harness
beforeAll(async () => {
  harness = await startHarness()
  open = await startHarness({ on: harness.on, env: { CORS_ORIGINS: `${shop}, http://localhost:5173` } })
})
afterAll(async () => {
  await open.stop()
  await harness.stop()
})

describe('safe headers', () => {
  it.each([
    ['GET', '/livez', 200],
    ['GET', '/nothing', 404],
    ['DELETE', '/livez', 405],
    ['GET', '/v1/users/0/balance', 400],
    ['POST', '/v1/admin/products', 401],
    ['GET', '/v1/products', 200],
    ['GET', '/openapi.json', 200],
  ])('are on every answer: %s %s', async (method, path, status) => {
    const answer = await harness.call(method, path)
    expect(answer.status).toBe(status)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'strict-transport-security': 'max-age=31536000',
      'x-content-type-options': 'nosniff',
    })
    expect(answer.headers.get('x-powered-by')).toBeNull()
  })

  it('let the reference page run its own script and no other', async () => {
    const response = await harness.app.request('/docs')
    const policy = response.headers.get('content-security-policy') ?? ''
    const [, script = ''] = /<script>(.*)<\/script>/.exec(await response.text()) ?? []
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(script))
    expect(policy).toContain(`script-src 'self' 'sha256-${Buffer.from(digest).toString('base64')}';`)
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe-eval')
  })
})

describe('CORS', () => {
  const preflight = (on: Harness, origin: string) =>
    on.app.request('/v1/orders', {
      method: 'OPTIONS',
      headers: {
        Origin: origin,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'authorization,content-type,idempotency-key',
      },
    })

  it('is off by default', async () => {
    const answer = await harness.call('GET', '/v1/products', undefined, { Origin: shop })
    expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    expect((await preflight(harness, shop)).status).toBe(405)
  })

  it.each([shop, 'http://localhost:5173'])(
    'lets pages of %s call, and read what they need',
    async (origin) => {
      const allowed = await preflight(open, origin)
      expect(allowed.status).toBe(204)
      expect(allowed.headers.get('access-control-allow-origin')).toBe(origin)
      expect(allowed.headers.get('access-control-allow-methods')).toBe('GET,HEAD,POST')
      expect(allowed.headers.get('access-control-allow-headers')).toMatch(/authorization/i)
      expect(allowed.headers.get('vary')).toMatch(/origin/i)
      const answer = await open.call('GET', '/v1/users/0/balance', undefined, { Origin: origin })
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
      expect(answer.headers.get('access-control-expose-headers')).toContain('Retry-After')
      expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
    },
  )

  it.each(['https://evil.example', `${shop}.evil.example`, 'null', 'http://shop.example', ''])(
    'lets no other page: %s',
    async (origin) => {
      const refused = await preflight(open, origin)
      expect(refused.headers.get('access-control-allow-origin')).toBeNull()
      const answer = await open.call('GET', '/v1/products', undefined, { Origin: origin })
      expect(answer.headers.get('access-control-allow-origin')).toBeNull()
      expect(answer.headers.get('vary')).toMatch(/origin/i)
    },
  )

  it.each([
    ['/v1/orders', {}],
    ['/v1/orders', { Origin: shop }],
    ['/v1/orders', { 'Access-Control-Request-Method': 'POST' }],
    ['/v1/nothing', {}],
  ])('[ALL-3] takes an OPTIONS of %s with %j for no preflight', async (path, headers) => {
    const [allowing, refusing] = [
      await open.call('OPTIONS', path, undefined, headers as Record<string, string>),
      await harness.call('OPTIONS', path, undefined, headers as Record<string, string>),
    ]
    expect([allowing.status, allowing.body.code]).toEqual([refusing.status, refusing.body.code])
    expect(allowing.status).toBe(path === '/v1/orders' ? 405 : 404)
    expect(allowing.headers.get('allow')).toBe(refusing.headers.get('allow'))
  })

  it('opens the admin routes to nobody without the token', async () => {
    expect((await open.call('POST', '/v1/admin/products', {}, { Origin: shop })).status).toBe(401)
    const headers = { Origin: shop, Authorization: `Bearer ${adminToken}` }
    expect((await open.call('POST', '/v1/admin/products', {}, headers)).status).toBe(400)
  })
})

describe('a client that is slow', () => {
  it('is cut off: each limit of the server is set and finite', async () => {
    const server = createHttpServer(harness.app, harness.deps.newRequestId)
    expect(server.headersTimeout).toBe(5000)
    expect(server.requestTimeout).toBe(15_000)
    expect(server.keepAliveTimeout).toBe(65_000)
    expect(server.maxConnections).toBe(20_000)
    // The same server with less patience: the head of this request never ends.
    server.headersTimeout = 1
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.write('POST /v1/orders HTTP/1.1\r\nHost: x\r\n')
    let text = ''
    for await (const part of socket.setEncoding('utf8')) text += part
    expect(text).toMatch(/^HTTP\/1.1 400 /)
    expect(text).toContain('The request took too long to arrive')
    server.close()
    await once(server, 'close')
  })
})
