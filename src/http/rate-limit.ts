import type { Context } from 'hono'
import type { Logger } from 'pino'
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import type { Env } from '../env.ts'
import { refuse } from '../errors.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import type { HttpEnv } from './frame.ts'
import { problem } from './problem.ts'

/** Counts a write of the user. Gives the answer 429 when it is one too many, else nothing. */
export type LimitRate = (c: Context<HttpEnv>, userId: number) => Promise<Response | undefined>

/**
 * Makes the limit on the writes of each user, over all processes, or nothing where none is set. It protects the
 * service and guards no rule of it, so without Redis every request passes. A user who is over it is then refused from
 * process memory, until the window ends.
 */
export function createRateLimit(
  env: Pick<Env, 'RATE_LIMIT_REQUESTS' | 'RATE_LIMIT_WINDOW_SECONDS'>,
  redis: RedisClient,
  log: Logger,
): LimitRate | undefined {
  const { RATE_LIMIT_REQUESTS: quota, RATE_LIMIT_WINDOW_SECONDS: windowSeconds } = env
  if (quota === 0) return undefined
  const limiter = new RateLimiterRedis({
    storeClient: redis,
    keyPrefix: '',
    points: quota,
    duration: windowSeconds,
    inMemoryBlockOnConsumed: quota + 1,
    rejectIfRedisNotReady: true,
  })
  const policy = `"user";q=${quota};w=${windowSeconds}`

  async function count(userId: number): Promise<{ used: RateLimiterRes; isOver: boolean } | undefined> {
    try {
      return { used: await limiter.consume(keys.rateLimit(userId)), isOver: false }
    } catch (reason) {
      if (reason instanceof RateLimiterRes) return { used: reason, isOver: true }
      log.debug({ err: reason }, 'writes not counted')
      return undefined
    }
  }

  return async (c, userId) => {
    // A write whose user is found out on the way is counted there; none is counted twice.
    if (c.env.isCounted) return undefined
    c.env.isCounted = true
    const counted = await count(userId)
    if (!counted) return undefined
    const seconds = Math.max(1, Math.ceil(counted.used.msBeforeNext / 1000))
    // draft-ietf-httpapi-ratelimit-headers-10
    c.env.headers = {
      'RateLimit-Policy': policy,
      RateLimit: `"user";r=${counted.isOver ? 0 : counted.used.remainingPoints};t=${seconds}`,
    }
    if (!counted.isOver) return undefined
    return problem(c, refuse('RATE_LIMITED'), { 'Retry-After': String(seconds) })
  }
}
