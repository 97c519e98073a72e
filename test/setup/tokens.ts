import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export const secret = 'recognisable-jwt-secret-0123456789abcdef'

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const nowSeconds = () => Math.floor(Date.now() / 1000)

/** Puts a token together from its parts, whatever sense they make. */
export function tokenOf(header: object, claims: object, sign: (text: string) => Buffer): string {
  const text = `${part(header)}.${part(claims)}`
  return `${text}.${sign(text).toString('base64url')}`
}

export const hmac = (key: string | Buffer) => (text: string) =>
  createHmac('sha256', key).update(text).digest()
export const rsa = (key: KeyObject) => (text: string) => signBytes('sha256', Buffer.from(text), key)
export const ec = (key: KeyObject) => (text: string) =>
  signBytes('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
const unsigned = () => Buffer.alloc(0)

export const claimsOf = (userId: number, changes: object = {}) => ({
  sub: String(userId),
  exp: nowSeconds() + 600,
  ...changes,
})

const rsaKeys = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ecKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const strangerKeys = generateKeyPairSync('rsa', { modulusLength: 2048 })
const octets = Buffer.from('a-symmetric-key-in-a-public-set!')
const publicPem = rsaKeys.publicKey.export({ type: 'spki', format: 'pem' })
const publicJwk = rsaKeys.publicKey.export({ format: 'jwk' })

/** The key set that an issuer publishes, a symmetric key among them that nobody should. */
export const publishedKeys = [
  { ...publicJwk, kid: 'rsa', use: 'sig' },
  { ...ecKeys.publicKey.export({ format: 'jwk' }), kid: 'ec', alg: 'ES256' },
  { ...publicJwk, kid: 'encryption', use: 'enc' },
  { kty: 'oct', k: octets.toString('base64url'), kid: 'oct', alg: 'HS256' },
]

/** Serves a key set on a port of its own, and counts how often it was asked for. */
export async function serveKeys() {
  const state = { asked: 0, answer: { status: 200, body: JSON.stringify({ keys: publishedKeys }) } }
  const server = createServer((_, response) => {
    state.asked++
    response.writeHead(state.answer.status, { 'Content-Type': 'application/json' }).end(state.answer.body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    state,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

export type Mode = 'secret' | 'keySet'

/** A token that the service must take. */
export function goodToken(mode: Mode, claims: object): string {
  return mode === 'secret'
    ? tokenOf({ alg: 'HS256', typ: 'JWT' }, claims, hmac(secret))
    : tokenOf({ alg: 'RS256', typ: 'JWT', kid: 'rsa' }, claims, rsa(rsaKeys.privateKey))
}

/** Another token of the key set, signed with its elliptic key. */
export function ellipticToken(claims: object): string {
  return tokenOf({ alg: 'ES256', kid: 'ec' }, claims, ec(ecKeys.privateKey))
}

/** Tokens for a user that the service must not take in either mode, by what is wrong with them. */
export function badTokens(mode: Mode, userId: number): Record<string, string> {
  const claims = claimsOf(userId)
  const good = goodToken(mode, claims)
  const [header = '', payload = '', signature = ''] = good.split('.')
  const kid = { kid: 'rsa' }
  const own = mode === 'secret' ? { alg: 'HS256' } : { alg: 'RS256', kid: 'rsa' }
  return {
    'no token at all': 'x',
    'two parts': `${header}.${payload}`,
    'four parts': `${good}.${signature}`,
    'parts that are not JSON': `a.b.${signature}`,
    'no signature': `${header}.${payload}.`,
    'the signature of another payload': `${header}.${part(claimsOf(userId + 1))}.${signature}`,
    'alg none': tokenOf({ alg: 'none', typ: 'JWT', ...kid }, claims, unsigned),
    'alg None with the signature': `${part({ alg: 'None', ...kid })}.${payload}.${signature}`,
    'no alg': tokenOf({ typ: 'JWT', ...kid }, claims, hmac(secret)),
    'a crit extension': tokenOf({ ...own, crit: ['b64'], b64: false }, claims, hmac(secret)),
    'another secret': tokenOf({ alg: 'HS256', ...kid }, claims, hmac(`${secret}x`)),
    'an empty secret': tokenOf({ alg: 'HS256', ...kid }, claims, hmac('')),
    'another HMAC': tokenOf({ alg: 'HS512', ...kid }, claims, (text) =>
      createHmac('sha512', secret).update(text).digest(),
    ),
    "a stranger's key": tokenOf({ alg: 'RS256', ...kid }, claims, rsa(strangerKeys.privateKey)),
    'an unknown key': tokenOf({ alg: 'RS256', kid: 'unknown' }, claims, rsa(rsaKeys.privateKey)),
    'no key id': tokenOf({ alg: 'RS256' }, claims, rsa(rsaKeys.privateKey)),
    'a key for encryption': tokenOf({ alg: 'RS256', kid: 'encryption' }, claims, rsa(rsaKeys.privateKey)),
    'RS256 that is HMAC': tokenOf({ alg: 'RS256', ...kid }, claims, hmac(secret)),
    'the public key as HMAC secret, PEM': tokenOf({ alg: 'HS256', ...kid }, claims, hmac(publicPem)),
    'the public key as HMAC secret, JWK': tokenOf(
      { alg: 'HS256', ...kid },
      claims,
      hmac(JSON.stringify(publicJwk)),
    ),
    'a symmetric key of the set': tokenOf({ alg: 'HS256', kid: 'oct' }, claims, hmac(octets)),
    'the elliptic key under the name of the other': tokenOf(
      { alg: 'ES256', ...kid },
      claims,
      ec(ecKeys.privateKey),
    ),
    'a key of its own': tokenOf(
      { alg: 'RS256', kid: 'own', jwk: strangerKeys.publicKey.export({ format: 'jwk' }) },
      claims,
      rsa(strangerKeys.privateKey),
    ),
    expired: goodToken(mode, claimsOf(userId, { exp: nowSeconds() - 1 })),
    'an end that is no number': goodToken(mode, claimsOf(userId, { exp: 'never' })),
    'not valid yet': goodToken(mode, claimsOf(userId, { nbf: nowSeconds() + 60 })),
    'no sub': goodToken(mode, { exp: claims.exp }),
    'a sub of 0': goodToken(mode, { ...claims, sub: '0' }),
    'a sub with a zero before it': goodToken(mode, { ...claims, sub: `0${userId}` }),
    'a sub with more behind it': goodToken(mode, { ...claims, sub: `${userId},2` }),
    'a list as sub': goodToken(mode, { ...claims, sub: [userId] }),
    'a sub beyond safe integers': goodToken(mode, { ...claims, sub: '9007199254740993' }),
  }
}
