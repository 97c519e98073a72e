import { setTimeout as pause } from 'node:timers/promises'
import { writeHolders } from '../coupon/coupon.holders.ts'
import { findHolders, pagesOfHolders } from '../coupon/coupon.sql.ts'
import { type CouponPolicy, holdersExpireAt } from '../coupon/coupon.ts'
import type { Database } from '../db/client.ts'
import { mastersOf, type RedisClient } from '../redis/client.ts'
import { holderPattern, keys, readHolderKey } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import { policiesInRedis } from './policies.ts'
import { betweenLooksMs, type Change, type RedisRule, verdictOf } from './verdict.ts'

const holdersPerPage = 2000
const keysPerScan = 1000
/** Violations that are kept for the repair; beyond it they are only counted, and policies repaired as a whole. */
const maxKept = 10_000

/** A holder in Redis (null: none) and the coupon that the user has in Postgres. */
interface Holder {
  policyId: number
  userId: number
  redis: string | null
  postgres: string | null
}

interface Deps {
  redis: RedisClient
  scripts: Scripts
  db: Database
  now(): number
}

/** Every coupon has its holder in Redis. Those that are missing or wrong are written again. */
export function holdersOfCoupons(deps: Deps): RedisRule {
  const { redis, scripts, db } = deps
  const rule = {
    rule: 'redis-holders',
    about: 'every coupon of a loaded policy has its holder in Redis, or is pending (CPN-3)',
  }

  return async () => {
    const found: Holder[] = []
    const affected = new Map<number, CouponPolicy>()
    let looked = 0
    let violated = 0
    for await (const policies of policiesInRedis(deps)) {
      for (const policy of policies) {
        if ((await scripts.inspectPolicy(policy.id)).holdersUpTo === null) continue
        const suspects: Holder[] = []
        for await (const page of pagesOfHolders(db, policy.id, holdersPerPage)) {
          if (page.length === 0) continue
          looked += page.length
          const values = await redis.mget(page.map(({ userId }) => keys.couponHolder(policy.id, userId)))
          const pending = values.every((value) => value !== null) ? new Set() : await readPending(policy.id)
          page.forEach(({ userId, couponId }, index) => {
            const value = values[index] ?? null
            if (value === couponId || (value === null && pending.has(couponId))) return
            violated++
            if (suspects.length < maxKept) {
              suspects.push({ policyId: policy.id, userId, redis: value, postgres: couponId })
            }
          })
        }
        const certain = await confirm(suspects)
        violated -= suspects.length - certain.length
        if (certain.length === 0) continue
        affected.set(policy.id, policy)
        if (found.length < maxKept) found.push(...certain)
      }
    }
    const verdict = verdictOf(rule, { looked, violations: found.map((holder) => ({ ...holder })), violated })
    return { verdict, repair: () => repair(found, affected, violated) }
  }

  /** The coupons that are pending, of whose holders none need be there. */
  async function readPending(policyId: number): Promise<Set<string>> {
    return new Set((await scripts.inspectPolicy(policyId)).pendingCouponIds)
  }

  /** Those that are still so a moment later: a flush on the way, or a policy dropped, is no drift. */
  async function confirm(suspects: Holder[]): Promise<Holder[]> {
    const [first] = suspects
    if (!first) return []
    await pause(betweenLooksMs)
    const values = await redis.mget(
      suspects.map(({ policyId, userId }) => keys.couponHolder(policyId, userId)),
    )
    if ((await scripts.inspectPolicy(first.policyId)).holdersUpTo === null) return []
    return suspects.filter((suspect, index) => (values[index] ?? null) === suspect.redis)
  }

  async function repair(
    found: Holder[],
    affected: Map<number, CouponPolicy>,
    violated: number,
  ): Promise<Change[]> {
    if (violated > found.length) {
      for (const policy of affected.values()) await writeHolders(deps, policy)
    }
    for (const { policyId, userId, postgres } of found) {
      const policy = affected.get(policyId) as CouponPolicy
      const key = keys.couponHolder(policyId, userId)
      await redis.set(key, postgres as string, 'PXAT', holdersExpireAt(policy))
    }
    return found.map(changeOf)
  }
}

/** Every holder in Redis has its coupon, as it is written behind the commit. What has none is taken out. */
export function couponsOfHolders(deps: Deps): RedisRule {
  const { redis, db } = deps
  const rule = {
    rule: 'redis-holders-true',
    about: 'every holder in Redis has its coupon in Postgres (CPN-3)',
  }

  return async () => {
    const found: Holder[] = []
    let looked = 0
    let violated = 0
    for await (const holders of scan()) {
      looked += holders.length
      for (const [policyId, group] of Map.groupBy(holders, (holder) => holder.policyId)) {
        const wrong = await lookAt(
          policyId,
          group.map(({ userId }) => userId),
        )
        violated += wrong.length
        if (found.length < maxKept) found.push(...wrong)
      }
    }
    const verdict = verdictOf(rule, { looked, violations: found.map((holder) => ({ ...holder })), violated })
    return { verdict, repair: () => repair(found) }
  }

  /** The holders of all policies, some at a time, from every server that holds keys. */
  async function* scan(): AsyncGenerator<{ policyId: number; userId: number }[]> {
    for (const master of mastersOf(redis)) {
      let cursor = '0'
      do {
        const [next, scanned] = await master.scan(cursor, 'MATCH', holderPattern, 'COUNT', keysPerScan)
        cursor = next
        yield scanned.flatMap((key) => readHolderKey(key) ?? [])
      } while (cursor !== '0')
    }
  }

  async function lookAt(policyId: number, userIds: number[]): Promise<Holder[]> {
    const ofUsers = userIds.map((userId) => keys.couponHolder(policyId, userId))
    const before = await redis.mget(ofUsers)
    const held = await findHolders(db, policyId, userIds)
    return userIds.flatMap((userId, index): Holder[] => {
      const redis = before[index] ?? null
      // A coupon of another id is for the other rule.
      return redis === null || held.has(userId) ? [] : [{ policyId, userId, redis, postgres: null }]
    })
  }

  async function repair(found: Holder[]): Promise<Change[]> {
    const changes: Change[] = []
    for (const holder of found) {
      const key = keys.couponHolder(holder.policyId, holder.userId)
      // Not one step with the write, and need not be: where a grant comes in between, Postgres decides about it, and
      // its settlement writes the holder again.
      if ((await redis.get(key)) !== holder.redis) continue
      await redis.del(key)
      changes.push(changeOf(holder))
    }
    return changes
  }
}

function changeOf({ policyId, userId, redis, postgres }: Holder): Change {
  return {
    what: 'holder of a coupon',
    key: keys.couponHolder(policyId, userId),
    from: redis,
    to: postgres,
  }
}
