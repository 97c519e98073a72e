import type { Context, MiddlewareHandler } from 'hono'
import type { Deps } from '../deps.ts'
import { refuse } from '../errors.ts'
import { adminOnly, mayActFor, userOnly } from './auth.ts'
import { createDeadline } from './deadline.ts'
import { problem } from './problem.ts'
import { createRateLimit, type LimitRate } from './rate-limit.ts'
import type { HttpEnv } from './request-id.ts'
import { createVerifyToken } from './tokens.ts'

/** Who a route is for, by what its `security` says. */
export type Audience = 'everyone' | 'user' | 'admin'

/** What `createApi` puts before and behind the validation of each route, by the `security` of the route. */
export interface Access {
  /** before anything of the request is looked at */
  enter: Record<Audience, MiddlewareHandler<HttpEnv>[]>
  /**
   * Judges a user route once its input is valid: a `userId` in it must be the caller's, and a write is counted.
   * Undefined where there is nothing to judge.
   */
  admit: ((c: Context<HttpEnv>, userIds: number[]) => Promise<Response | undefined>) | undefined
  /** for a write whose user is only found out by its handler */
  limitRate: LimitRate
}

/** Makes the rules of access from the settings. */
export function createAccess({ env, log, redis }: Pick<Deps, 'env' | 'log' | 'redis'>): Access {
  const verify = createVerifyToken(env, log)
  const limitRate = createRateLimit(env, redis, log)
  const deadline = createDeadline(env.REQUEST_TIMEOUT_MS)

  async function admit(c: Context<HttpEnv>, userIds: number[]): Promise<Response | undefined> {
    if (!userIds.every((userId) => mayActFor(c, userId))) {
      return problem(c, refuse('FORBIDDEN', 'The token is for another user.'))
    }
    const userId = userIds[0] ?? c.get('actor')
    return userId === undefined || c.req.method === 'GET' ? undefined : limitRate?.(c, userId)
  }

  return {
    enter: {
      everyone: [deadline],
      user: verify ? [deadline, userOnly(verify)] : [deadline],
      // No deadline: to warm or to audit takes as long as it takes.
      admin: [adminOnly(env.ADMIN_TOKEN)],
    },
    admit: verify || limitRate ? admit : undefined,
    limitRate: limitRate ?? (async () => undefined),
  }
}
