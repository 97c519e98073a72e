import type { Context } from 'hono'
import type { Deps } from '../deps.ts'
import { refuse } from '../errors.ts'
import { adminOnly, type Guard, mayActFor, userOnly } from './auth.ts'
import { createDeadline, type Within } from './deadline.ts'
import type { HttpEnv } from './frame.ts'
import { problem } from './problem.ts'
import { createRateLimit, type LimitRate } from './rate-limit.ts'
import { createVerifyToken } from './tokens.ts'

/** Who a route is for, by what its `security` says. */
export type Audience = 'everyone' | 'user' | 'admin'

/** What an endpoint does before and behind its validation, by the `security` of its route. */
export interface Access {
  /** Judges who calls, before anything of the request is looked at. */
  enter: Record<Audience, Guard | undefined>
  /** the deadline of a request */
  within: Record<Audience, Within | undefined>
  /**
   * Judges a user route once its input is valid: a `userId` in it must be the caller's, and a call of a write is counted.
   * Undefined where there is nothing to judge.
   */
  admit:
    | ((c: Context<HttpEnv>, userIds: number[], isWrite: boolean) => Promise<Response | undefined>)
    | undefined
  /** for a write whose user is only found out by its handler */
  limitRate: LimitRate
}

/** Makes the rules of access from the settings. */
export function createAccess({ env, log, redis }: Pick<Deps, 'env' | 'log' | 'redis'>): Access {
  const verify = createVerifyToken(env, log)
  const limitRate = createRateLimit(env, redis, log)
  const within = createDeadline(env.REQUEST_TIMEOUT_MS)

  async function admit(c: Context<HttpEnv>, userIds: number[], isWrite: boolean) {
    if (!userIds.every((userId) => mayActFor(c, userId))) {
      return problem(c, refuse('FORBIDDEN', 'The token is for another user.'))
    }
    const userId = userIds[0] ?? c.env.actor
    return userId === undefined || !isWrite ? undefined : limitRate?.(c, userId)
  }

  return {
    enter: {
      everyone: undefined,
      user: verify && userOnly(verify),
      admin: adminOnly(env.ADMIN_TOKEN),
    },
    // The admin has none: to warm or to audit takes as long as it takes.
    within: { everyone: within, user: within, admin: undefined },
    admit: verify || limitRate ? admit : undefined,
    limitRate: limitRate ?? (async () => undefined),
  }
}
