import type { Logger } from 'pino'
import Redlock from 'redlock'
import type { RedisClient } from './client.ts'

export interface Locks {
  /**
   * Runs `job` while holding the lock, renewing it as long as the job takes. Gives false, without running it, when
   * another holds the lock. A lock lost on the way aborts `signal`. Locks save work; nothing correct leans on them.
   */
  tryWith(key: string, ttlMs: number, job: (signal: AbortSignal) => Promise<void>): Promise<boolean>
}

/** Makes the locks over the Redis of the service: one vote, also where it is a cluster, in which a key has one place. */
export function createLocks(redis: RedisClient, log: Logger): Locks {
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
      const lost = new AbortController()
      const renewal = setInterval(() => {
        lock.extend(ttlMs).catch((error: unknown) => {
          log.warn({ err: error, key }, 'lock lost')
          lost.abort()
        })
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
