import { setTimeout as pause } from 'node:timers/promises'
import { comparePolicy, type PolicyLook } from '../coupon/coupon.compare.ts'
import type { PolicyLoader } from '../coupon/coupon.load.ts'
import type { CouponPolicy } from '../coupon/coupon.ts'
import type { Database } from '../db/client.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import { policiesInRedis } from './policies.ts'
import { betweenLooksMs, type Change, maxLooks, type RedisRule, verdictOf } from './verdict.ts'

/** Policies looked at side by side, so that an audit takes few of the connections. */
const abreast = 4
const rule = {
  rule: 'redis-coupons',
  about:
    'each loaded policy in Redis has total and window of Postgres, and what remains is total less issued less pending (CPN-2, CPN-3)',
}

type Drift = Extract<PolicyLook, { outcome: 'DIFFERENT' }>

/** Policies in Redis. One that drifted is dropped and loaded again. */
export function couponsInRedis(deps: {
  redis: RedisClient
  scripts: Scripts
  db: Database
  policyLoader: PolicyLoader
  now(): number
}): RedisRule {
  const { redis, scripts, policyLoader } = deps

  return async () => {
    const drifted: { policy: CouponPolicy; drift: Drift }[] = []
    let looked = 0
    let skipped = 0
    for await (const page of policiesInRedis(deps)) {
      for (let from = 0; from < page.length; from += abreast) {
        const part = page.slice(from, from + abreast)
        const looks = await Promise.all(part.map(lookAt))
        looks.forEach((look, index) => {
          if (look.outcome !== 'ABSENT') looked++
          if (look.outcome === 'MOVING') skipped++
          if (look.outcome === 'DIFFERENT') drifted.push({ policy: part[index] as CouponPolicy, drift: look })
        })
      }
    }
    const violations = drifted.map(({ policy, drift: { what, redis, postgres } }) => ({
      policyId: policy.id,
      what,
      redis,
      postgres,
    }))
    return { verdict: verdictOf(rule, { looked, skipped, violations }), repair: () => reload(drifted) }
  }

  /** Only what differs twice, with nothing admitted or settled in between, has drifted. */
  async function lookAt(policy: CouponPolicy): Promise<PolicyLook> {
    let before: PolicyLook | undefined
    for (let looks = 0; looks < maxLooks; looks++) {
      const look = await comparePolicy(deps, policy)
      if (look.outcome === 'ABSENT' || look.outcome === 'SAME') return look
      if (look.outcome === 'DIFFERENT' && JSON.stringify(look) === JSON.stringify(before)) return look
      before = look
      await pause(betweenLooksMs)
    }
    return { outcome: 'MOVING' }
  }

  async function reload(drifted: { policy: CouponPolicy; drift: Drift }[]): Promise<Change[]> {
    const changes: Change[] = []
    for (const { policy, drift } of drifted) {
      const key = keys.couponPolicy(policy.id)
      await redis.hdel(key, 'remaining')
      await policyLoader.load(policy)
      const { remaining, terms } = await scripts.inspectPolicy(policy.id)
      const to = drift.what === 'terms' ? terms : remaining
      changes.push({ what: `${drift.what} of a policy`, key, from: drift.redis, to })
    }
    return changes
  }
}
