import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import { Unavailable } from '../errors.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import type { Locks } from '../redis/lock.ts'
import type { Scripts } from '../redis/scripts.ts'
import { writeHolders } from './coupon.holders.ts'
import { countIssued } from './coupon.sql.ts'
import { type CouponPolicy, holdersExpireAt } from './coupon.ts'

/** A process that dies leaves its lock for this long: less than callers wait, so that the next one loads in time. */
const lockTtlMs = 2000
/** A settled grant makes the loader read again; grants run out soon, as none is admitted while it loads. */
const maxAttempts = 200
const betweenAttemptsMs = 10

export interface PolicyLoader {
  /**
   * Loads a policy into Redis: first its holders, as far as they are not there, then the quantity, which opens it.
   * Calls for the same policy share one run. Returns early when another process is at it; the caller asks Redis again
   * anyway. `onHolders` hears how many holders were written, page by page, by the run that this call began.
   * @throws Unavailable when it cannot be done now
   */
  load(policy: CouponPolicy, onHolders?: (count: number) => void): Promise<void>
}

/**
 * Makes the loader. What remains is `total − issued − pending and not yet in Postgres`, where the two counts come from
 * one snapshot of Postgres; a settlement between the look at Redis and the write makes it read again, a flush makes it
 * start over (see lua/coupon.load.lua). The holders up to what is issued in that snapshot are written before the
 * quantity, each time: one may have been lost with the settlement for whose loss the quantity was dropped.
 */
export function createPolicyLoader(deps: {
  redis: RedisClient
  scripts: Scripts
  db: Database
  locks: Locks
  newId(): string
  log: Logger
}): PolicyLoader {
  const { redis, scripts, db, locks, newId, log } = deps
  const underWay = new Map<number, Promise<void>>()

  async function loadLocked(policy: CouponPolicy, onHolders?: (count: number) => void): Promise<void> {
    const isMine = await locks.tryWith(keys.couponLoadLock(policy.id), lockTtlMs, (lost) =>
      loadNow(policy, lost, onHolders),
    )
    if (!isMine) await pause(betweenAttemptsMs)
  }

  async function loadNow(
    policy: CouponPolicy,
    lost: AbortSignal,
    onHolders?: (count: number) => void,
  ): Promise<void> {
    let loader = ''
    let holdersUpTo = 0
    for (let attempt = 0; attempt < maxAttempts && !lost.aborted; attempt++) {
      const isStart = loader === ''
      if (isStart) {
        // Written before anything is looked at, so that a flush from here on is noticed.
        loader = newId()
        await redis.hset(keys.couponPolicy(policy.id), 'loader', loader)
      }
      const state = await scripts.inspectPolicy(policy.id)
      if (state.remaining !== null) return
      if (isStart) holdersUpTo = state.holdersUpTo ?? 0
      const { remaining, issuedQuantity } = await countOf(db, policy, state.pendingCouponIds)
      const ranks = { after: holdersUpTo, upTo: issuedQuantity }
      await writeHolders({ scripts, db }, policy, { ranks, signal: lost, onWritten: onHolders })
      // They were left incomplete then. The token may still be this one's: nobody need have taken the lock yet.
      if (lost.aborted) break
      holdersUpTo = issuedQuantity
      const outcome = await scripts.loadPolicy(
        policy.id,
        { loader, settles: state.settles },
        {
          total: policy.totalQuantity,
          remaining,
          startsAt: policy.issueStartsAt.getTime(),
          endsAt: policy.issueEndsAt.getTime(),
          holdersExpireAt: holdersExpireAt(policy),
          holdersUpTo,
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

  return {
    load(policy, onHolders) {
      const running = underWay.get(policy.id)
      if (running) return running
      const run = loadLocked(policy, onHolders).finally(() => underWay.delete(policy.id))
      underWay.set(policy.id, run)
      return run
    },
  }
}

/** What is issued, and what can still be, given the grants that Redis holds as pending. */
export async function countOf(
  db: Database,
  policy: CouponPolicy,
  pendingCouponIds: string[],
): Promise<{ remaining: number; issuedQuantity: number }> {
  const { issuedQuantity, committed } = await countIssued(db, policy.id, pendingCouponIds)
  // Below zero where a Redis restored from an old copy holds more grants than there are units. Postgres refuses those,
  // and what they give back then makes no unit that can be issued.
  return {
    remaining: policy.totalQuantity - issuedQuantity - (pendingCouponIds.length - committed),
    issuedQuantity,
  }
}
