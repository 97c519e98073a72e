import { createHash } from 'node:crypto'
import type { Deps } from '../deps.ts'
import { keys } from '../redis/keys.ts'

/** A claim outlives a process that is killed by this long at most, ms: a repeat waits for longer. */
const claimMs = 2500
/** A claim whose call goes on is renewed when it is this old, ms. */
const renewAfterMs = 800

interface Claim {
  key: string
  /** when Redis was asked to keep it for `claimMs` more, and did */
  keptAt: number
}

/** Ends a claim, or leaves it to run out after so many ms. */
export type EndClaim = (leftForMs?: number) => void

/**
 * Makes the claims by which processes tell each other which idempotent calls they are at. They guard nothing, which the
 * primary key in Postgres does: a repeat in another process waits for a call that is under way instead of competing
 * with it. Without Redis a claim is not needed, and not kept.
 */
export function createClaims({ redis, now, newId, log }: Pick<Deps, 'redis' | 'now' | 'newId' | 'log'>) {
  const held = new Set<Claim>()
  let renewal: NodeJS.Timeout | undefined

  function renew(): void {
    for (const claim of held) {
      const askedAt = now()
      if (askedAt - claim.keptAt < renewAfterMs) continue
      redis.pexpire(claim.key, claimMs).then(
        // One that has run out is not there to be kept.
        (isKept) => {
          if (isKept === 1) claim.keptAt = askedAt
        },
        (error: unknown) => log.debug({ err: error }, 'claim not renewed'),
      )
    }
    if (held.size > 0) return
    clearInterval(renewal)
    renewal = undefined
  }

  function end(claim: Claim, leftForMs: number): void {
    held.delete(claim)
    // One that has run out may be another's by now.
    if (now() - claim.keptAt > claimMs / 2) return
    const ended = leftForMs > 0 ? redis.pexpire(claim.key, leftForMs) : redis.del(claim.key)
    ended.catch((error: unknown) => log.debug({ err: error }, 'claim left to run out'))
  }

  /** Claims a call for this process. Gives what ends the claim, or undefined while another process has it. */
  return async function claim(name: string): Promise<EndClaim | undefined> {
    const key = keys.idempotencyClaim(createHash('sha256').update(name).digest('base64url'))
    const own = { key, keptAt: now() }
    try {
      if ((await redis.set(key, newId(), 'PX', claimMs, 'NX')) === null) return undefined
    } catch (error) {
      log.debug({ err: error }, 'idempotent call not claimed')
      return () => undefined
    }
    held.add(own)
    renewal ??= setInterval(renew, renewAfterMs / 2).unref()
    return (leftForMs = 0) => end(own, leftForMs)
  }
}
