import type { Logger } from 'pino'
import Redlock from 'redlock'
import type { RedisClient } from './client.ts'

export interface Locks {
  /**
   * Runs `job` while holding the lock, renewing it as long as the job takes, up to `longestRunMs`. Gives false, without
   * running it, when another holds the lock. A lock lost or not renewed any more aborts `signal`, and what the job still
   * does may then happen beside another run. Locks save work; nothing correct leans on them.
   */
  tryWith(key: string, ttlMs: number, job: (signal: AbortSignal) => Promise<void>): Promise<boolean>
}

/**
 * A run that takes longer than this hangs, ms: its lock is left to run out, so that another process does the work. It is
 * far more than any job takes, among them the load of a policy with millions of holders.
 */
const defaultLongestRunMs = 600_000

/** Makes the locks over the Redis of the service: one vote, also where it is a cluster, in which a key has one place. */
export function createLocks(
  redis: RedisClient,
  log: Logger,
  longestRunMs: number = defaultLongestRunMs,
): Locks {
  const redlock = new Redlock([redis], { retryCount: 0 })
  // A vote that fails because Redis is away is reported by the connection already.
  redlock.on('clientError', (error: Error) => log.debug({ err: error }, 'redlock'))

  return {
    async tryWith(key, ttlMs, job) {
      let lock: Awaited<ReturnType<typeof redlock.lock>>
      try {
        lock = await redlock.lock(key, ttlMs)
      } catch (error) {
        if (error instanceof Redlock.LockError) return false
        throw error
      }
      const startedAt = performance.now()
      const lost = new AbortController()
      const lose = (error: unknown) => {
        log.warn({ err: error, key }, 'lock lost')
        clearInterval(renewal)
        lost.abort()
      }
      const renewal = setInterval(() => {
        const ranForMs = performance.now() - startedAt
        if (ranForMs > longestRunMs) lose(new Error(`the job has run for ${Math.round(ranForMs)} ms`))
        else lock.extend(ttlMs).catch(lose)
      }, ttlMs / 3)
      try {
        await job(lost.signal)
      } finally {
        clearInterval(renewal)
        await lock.unlock().catch((error: unknown) => log.debug({ err: error, key }, 'lock had expired'))
      }
      return true
    },
  }
}
