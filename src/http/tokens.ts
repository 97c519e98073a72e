import { decode, verify, verifyWithJwks } from 'hono/jwt'
import type { JWTPayload } from 'hono/utils/jwt/types'
import type { Logger } from 'pino'
import type { Env } from '../env.ts'
import { createKeySet, type KeySet } from './key-set.ts'

/** What an issuer may sign with. All are asymmetric: with a public key as HMAC secret anybody could sign (RFC 8725). */
const asymmetric = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const

/** exp and nbf are checked. iat says when a token was made, not from when it holds: a clock a second off is no fault. */
const verification = { exp: true, nbf: true, iat: false }

/** Gives the user that a token stands for, or undefined when it is not valid. @throws Unavailable without keys */
export type VerifyToken = (token: string) => Promise<number | undefined>

/** Makes the check of user tokens, or nothing where the gateway in front is trusted with it. */
export function createVerifyToken(
  env: Pick<Env, 'AUTH_JWT_SECRET' | 'AUTH_JWKS_URL'>,
  log: Logger,
): VerifyToken | undefined {
  if (env.AUTH_JWT_SECRET !== undefined) return bySecret(env.AUTH_JWT_SECRET)
  if (env.AUTH_JWKS_URL !== undefined) {
    return byKeySet(createKeySet({ url: env.AUTH_JWKS_URL, log, now: () => performance.now() }))
  }
  return undefined
}

/** Takes tokens signed with HS256 and this secret. */
export function bySecret(secret: string): VerifyToken {
  // Imported once, and as bytes: Hono would take a secret that reads like PEM for a key file.
  const key = crypto.subtle.importKey(
    'raw',
    new TextEncoder().encode(secret),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['verify'],
  )
  return async (token) => {
    const secretKey = await key
    return userOf(() => verify(token, secretKey, { alg: 'HS256', ...verification }))
  }
}

/** Takes tokens signed with a key of the set, by the algorithm that the key is for. */
export function byKeySet(keySet: KeySet): VerifyToken {
  return async (token) => {
    const kid = kidOf(token)
    if (kid === undefined) return undefined
    const keys = await keySet.keysFor(kid)
    return userOf(() => verifyWithJwks(token, { keys, allowedAlgorithms: [...asymmetric], verification }))
  }
}

async function userOf(check: () => Promise<JWTPayload>): Promise<number | undefined> {
  let sub: unknown
  try {
    sub = (await check()).sub
  } catch {
    // Whatever is wrong with a token, its bearer is not told what.
    return undefined
  }
  const text = typeof sub === 'number' ? String(sub) : sub
  if (typeof text !== 'string' || !/^[1-9]\d{0,15}$/.test(text)) return undefined
  return Number.isSafeInteger(Number(text)) ? Number(text) : undefined
}

function kidOf(token: string): string | undefined {
  try {
    const { kid } = decode(token).header as { kid?: unknown }
    return typeof kid === 'string' ? kid : undefined
  } catch {
    // Not a token at all.
    return undefined
  }
}
