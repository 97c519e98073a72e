import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import { Unavailable } from '../errors.ts'
import { keys } from '../redis/keys.ts'
import type { Locks } from '../redis/lock.ts'
import type { Scripts } from '../redis/scripts.ts'
import { countIssued, listHolders } from './coupon.sql.ts'
import { type CouponPolicy, holdersExpireAt } from './coupon.ts'

const holdersPerPage = 5000
const lockTtlMs = 10_000
/** A settled grant makes the loader read again; grants run out soon, as none is admitted while it loads. */
const maxAttempts = 200
const betweenAttemptsMs = 10

export interface PolicyLoader {
  /**
   * Loads a policy into Redis: first all its holders, then the quantity, which opens it. Calls for the same policy
   * share one run. Returns early when another process is at it; the caller asks Redis again anyway.
   * @throws Unavailable when it cannot be done now
   */
  load(policy: CouponPolicy): Promise<void>
}

/**
 * Makes the loader. What remains is `total − issued − pending and not yet in Postgres`, where the two counts come from
 * one snapshot of Postgres; a settlement between the look at Redis and the write makes it read again, a flush makes it
 * start over (see lua/coupon.load.lua).
 */
export function createPolicyLoader(deps: {
  redis: Redis
  scripts: Scripts
  db: Database
  locks: Locks
  newId(): string
  log: Logger
}): PolicyLoader {
  const { redis, scripts, db, locks, newId, log } = deps
  const underWay = new Map<number, Promise<void>>()

  async function loadLocked(policy: CouponPolicy): Promise<void> {
    const isMine = await locks.tryWith(keys.couponLoadLock(policy.id), lockTtlMs, (lost) =>
      loadNow(policy, lost),
    )
    if (!isMine) await pause(betweenAttemptsMs)
  }

  async function loadNow(policy: CouponPolicy, lost: AbortSignal): Promise<void> {
    let loader = ''
    for (let attempt = 0; attempt < maxAttempts && !lost.aborted; attempt++) {
      if (loader === '') {
        // Written before anything is looked at, so that a flush from here on is noticed.
        loader = newId()
        await redis.hset(keys.couponPolicy(policy.id), 'loader', loader)
        const { holdersLoaded } = await scripts.inspectPolicy(policy.id)
        if (!holdersLoaded) await loadHolders(policy, lost)
      }
      const state = await scripts.inspectPolicy(policy.id)
      if (state.remaining !== null) return
      const remaining = await remainingOf(db, policy, state.pendingCouponIds)
      const outcome = await scripts.loadPolicy(
        policy.id,
        { loader, settles: state.settles },
        {
          total: policy.totalQuantity,
          remaining,
          startsAt: policy.issueStartsAt.getTime(),
          endsAt: policy.issueEndsAt.getTime(),
          holdersExpireAt: holdersExpireAt(policy),
        },
      )
      if (outcome === 'LOADED') {
        log.info({ policyId: policy.id, remaining, pending: state.pendingCouponIds.length }, 'policy loaded')
        return
      }
      if (outcome === 'START_OVER') loader = ''
      await pause(betweenAttemptsMs)
    }
    throw new Unavailable(`policy ${policy.id} could not be loaded`)
  }

  async function loadHolders(policy: CouponPolicy, lost: AbortSignal): Promise<void> {
    const expireAt = holdersExpireAt(policy)
    let page = await listHolders(db, policy.id, 0, holdersPerPage)
    while (page.length > 0 && !lost.aborted) {
      const last = page.at(-1)
      const next =
        page.length === holdersPerPage && last
          ? listHolders(db, policy.id, last.rank, holdersPerPage)
          : Promise.resolve([])
      const pipeline = redis.pipeline()
      for (const { userId, couponId } of page) {
        pipeline.set(keys.couponHolder(policy.id, userId), couponId, 'PXAT', expireAt)
      }
      const [replies, following] = await Promise.all([pipeline.exec(), next])
      const failed = replies?.find(([error]) => error !== null)
      if (failed?.[0]) throw failed[0]
      page = following
    }
  }

  return {
    load(policy) {
      const running = underWay.get(policy.id)
      if (running) return running
      const run = loadLocked(policy).finally(() => underWay.delete(policy.id))
      underWay.set(policy.id, run)
      return run
    },
  }
}

/** What can still be issued, given the grants that Redis holds as pending. */
export async function remainingOf(
  db: Database,
  policy: CouponPolicy,
  pendingCouponIds: string[],
): Promise<number> {
  const { issuedQuantity, committed } = await countIssued(db, policy.id, pendingCouponIds)
  // A Redis restored from an old copy can hold more grants than there are units; Postgres refuses those.
  return Math.max(0, policy.totalQuantity - issuedQuantity - (pendingCouponIds.length - committed))
}
