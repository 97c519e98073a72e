import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Unavailable } from '../../src/errors.ts'
import { createKeySet } from '../../src/http/key-set.ts'
import { byKeySet, bySecret, createVerifyToken } from '../../src/http/tokens.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import {
  badTokens,
  claimsOf,
  ellipticToken,
  goodToken,
  hmac,
  publishedKeys,
  secret,
  serveKeys,
  tokenOf,
} from '../setup/tokens.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

describe('tokens by secret', () => {
  const verify = bySecret(secret)

  it('give the user in sub, as text or number', async () => {
    expect(await verify(goodToken('secret', claimsOf(7)))).toBe(7)
    expect(await verify(goodToken('secret', claimsOf(7, { sub: 7 })))).toBe(7)
    expect(await verify(goodToken('secret', { sub: '9007199254740991' }))).toBe(Number.MAX_SAFE_INTEGER)
  })

  it('are refused whatever else they are', async () => {
    for (const [fault, token] of Object.entries(badTokens('secret', 7))) {
      expect(await verify(token), fault).toBeUndefined()
    }
  })

  it('work with a secret that reads like a key file', async () => {
    const odd = '-----BEGIN PUBLIC KEY-----0123456789abcdef-----END PUBLIC KEY-----'
    expect(await bySecret(odd)(tokenOf({ alg: 'HS256' }, claimsOf(7), hmac(odd)))).toBe(7)
  })

  it('are not asked for without a setting', () => {
    expect(createVerifyToken({}, harness.deps.log)).toBeUndefined()
  })
})

describe('tokens by key set', () => {
  const body = JSON.stringify({ keys: publishedKeys })
  /** A key set over an issuer in this process, with a clock that is set by hand. */
  function issuer(answer: () => Response | Promise<Response> = () => new Response(body)) {
    const state = { now: 0, asked: 0, answer }
    const keySet = createKeySet({
      url: 'https://issuer.example/keys',
      log: harness.deps.log,
      now: () => state.now,
      fetch: async (_url, init) => {
        state.asked++
        expect(init).toMatchObject({ redirect: 'error', signal: expect.any(AbortSignal) })
        return state.answer()
      },
    })
    return { state, verify: byKeySet(keySet) }
  }
  const good = goodToken('keySet', claimsOf(7))

  it('take each algorithm with its own key, and no other', async () => {
    const { verify } = issuer()
    expect(await verify(good)).toBe(7)
    expect(await verify(ellipticToken(claimsOf(8)))).toBe(8)
    for (const [fault, token] of Object.entries(badTokens('keySet', 7))) {
      expect(await verify(token), fault).toBeUndefined()
    }
  })

  it('fetch the keys once for many callers, and again when they are old, without anybody waiting', async () => {
    const { state, verify } = issuer()
    expect(await Promise.all(Array.from({ length: 20 }, () => verify(good)))).toEqual(Array(20).fill(7))
    expect(state.asked).toBe(1)
    state.now += 5 * 60_000
    state.answer = () => new Promise<Response>(() => undefined)
    expect(await verify(good)).toBe(7)
    expect(state.asked).toBe(2)
  })

  it('fetch the keys for an unknown key id, but not more often than every five seconds', async () => {
    const { state, verify } = issuer(() => new Response(JSON.stringify({ keys: publishedKeys.slice(1) })))
    expect(await verify(good)).toBeUndefined()
    state.answer = () => new Response(body)
    state.now += 4999
    for (let call = 0; call < 50; call++) expect(await verify(good)).toBeUndefined()
    expect(state.asked).toBe(1)
    state.now += 1
    expect(await verify(good)).toBe(7)
    expect(state.asked).toBe(2)
  })

  it('hold for an hour while the issuer is away, then nobody is let in', async () => {
    const { state, verify } = issuer()
    expect(await verify(good)).toBe(7)
    state.answer = () => Promise.reject(new TypeError('fetch failed'))
    state.now += 59 * 60_000
    expect(await verify(good)).toBe(7)
    state.now += 60_000
    await expect(verify(good)).rejects.toThrow(Unavailable)
  })

  it.each([
    ['is away', () => Promise.reject(new TypeError('fetch failed'))],
    ['answers 500', () => new Response('', { status: 500 })],
    ['answers a page', () => new Response('<html>')],
    ['answers no set', () => new Response('{"keys":{}}')],
  ])('are judged by nobody while the issuer %s', async (_, answer) => {
    const { state, verify } = issuer(answer)
    await expect(verify(good)).rejects.toThrow(Unavailable)
    await expect(verify(good)).rejects.toThrow(Unavailable)
    expect(state.asked).toBe(1)
    expect(await verify('rubbish')).toBeUndefined()
  })

  it('answer 503 over HTTP while there are no keys, and 200 when there are', async () => {
    const keys = await serveKeys()
    keys.state.answer = { status: 500, body: '' }
    const away = await startHarness({ on: harness.on, env: { AUTH_JWKS_URL: keys.url } })
    const headers = { Authorization: `Bearer ${good}` }
    const refused = await away.call('GET', '/v1/users/7/balance', undefined, headers)
    expect([refused.status, refused.body.code]).toEqual([503, 'UNAVAILABLE'])
    expect(refused.headers.get('retry-after')).toBe('1')
    await away.stop()
    keys.state.answer = { status: 200, body }
    const back = await startHarness({ on: harness.on, env: { AUTH_JWKS_URL: keys.url } })
    expect((await back.call('GET', '/v1/users/7/balance', undefined, headers)).status).toBe(200)
    await back.stop()
    await keys.stop()
  })
})

describe('what is not said', () => {
  it('names the error in the challenge, and not what is wrong', async () => {
    const guarded = await startHarness({ on: harness.on, env: { AUTH_JWT_SECRET: secret } })
    const ask = async (authorization?: string) => {
      const headers: Record<string, string> =
        authorization === undefined ? {} : { Authorization: authorization }
      return (await guarded.call('GET', '/v1/users/7/balance', undefined, headers)).headers.get(
        'www-authenticate',
      )
    }
    expect(await ask()).toBe('Bearer')
    expect(await ask('Bearer x')).toBe('Bearer error="invalid_token"')
    await guarded.stop()
  })

  it('refuses a route that does not say whom it is for', () => {
    const route = { method: 'get', path: '/v1/new', responses: {} } as const
    expect(() => harness.app.openapi(route as never, (() => new Response()) as never)).toThrow(
      'GET /v1/new must say by its security whom it is for',
    )
  })
})
