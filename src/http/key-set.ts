import type { Logger } from 'pino'
import { z } from 'zod'
import { Unavailable } from '../errors.ts'

/** Keys younger than this are used as they are, ms. */
const freshMs = 5 * 60_000
/** An issuer that is away does not stop the service for this long, ms; after it, a key that was revoked is gone. */
const usableMs = 60 * 60_000
/** Least time between two fetches, ms: tokens with made-up key ids cannot make this service flood the issuer. */
const betweenFetchesMs = 5000
const fetchTimeoutMs = 3000

/** A public key. Symmetric ones are dropped: whoever can read the set could sign with them. */
const publicKey = z.looseObject({
  kty: z.enum(['RSA', 'EC', 'OKP']),
  kid: z.string(),
  use: z.literal('sig').optional(),
})
const keySet = z.object({ keys: z.array(z.unknown()) })

export type PublicKey = z.output<typeof publicKey>

export interface KeySet {
  /** All keys, with that of `kid` among them if the issuer has it. @throws Unavailable while no keys are known */
  keysFor(kid: string): Promise<PublicKey[]>
}

/**
 * Makes the cache of the issuer's keys (JWKS). One fetch at a time, with a deadline; a key id that is not known brings
 * the next fetch forward, so that a new key is taken up at once. `now` is a monotonic clock, ms.
 */
export function createKeySet(options: {
  url: string
  log: Logger
  now(): number
  fetch?: typeof globalThis.fetch
}): KeySet {
  const { url, log, now, fetch = globalThis.fetch } = options
  let known: { keys: PublicKey[]; at: number } | undefined
  let triedAt = Number.NEGATIVE_INFINITY
  let running: Promise<void> | undefined

  async function load(): Promise<void> {
    try {
      // A redirect is refused: it could lead to anybody's keys.
      const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(fetchTimeoutMs) })
      if (!response.ok) throw new Error(`the issuer answered ${response.status}`)
      const all = keySet.parse(await response.json()).keys
      const keys = all.flatMap((key) => publicKey.safeParse(key).data ?? [])
      known = { keys, at: now() }
      log.info({ keys: keys.length, leftOut: all.length - keys.length }, 'keys of the token issuer loaded')
    } catch (error) {
      // The URL may carry credentials, and fetch names it in some of its errors.
      log.warn({ reason: error instanceof Error ? error.name : 'unknown' }, 'no keys from the token issuer')
    }
  }

  /** Resolves when the fetch has ended, whatever it gave; at once when it is too early for one. */
  async function refresh(): Promise<void> {
    if (!running && now() - triedAt >= betweenFetchesMs) {
      triedAt = now()
      running = load().finally(() => {
        running = undefined
      })
    }
    await running
  }

  const isUsable = () => known !== undefined && now() - known.at < usableMs

  return {
    async keysFor(kid) {
      const isKnown = known?.keys.some((key) => key.kid === kid) === true
      if (!known || !isKnown || !isUsable()) await refresh()
      else if (now() - known.at >= freshMs) void refresh()
      if (!known || !isUsable()) throw new Unavailable('the keys of the token issuer are not known')
      return known.keys
    },
  }
}
