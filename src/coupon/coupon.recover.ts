import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import type { RedisClient } from '../redis/client.ts'
import { grantOf } from '../redis/coupon-scripts.ts'
import { keys } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import { comparePolicy } from './coupon.compare.ts'
import type { PolicyGrant } from './coupon.grant.ts'
import type { CouponCommit } from './coupon.issue.ts'
import type { PolicyLoader } from './coupon.load.ts'
import { listPolicies } from './coupon.sql.ts'
import { type CouponPolicy, holdersKeptMs, termsOf } from './coupon.ts'

const policiesPerPage = 500
/** Abandoned grants taken up a policy and run; the rest comes with the next run. */
const grantsPerPolicy = 1000

export interface CouponRecovery {
  /** Finishes grants that have been pending for longer than `minAgeMs`. Gives how many it took up. */
  finishAbandoned(minAgeMs: number): Promise<number>
  /**
   * Loads policies that are or will be open and that Redis lacks, and has those loaded again, with their holders, that
   * differ from Postgres. Gives how many differed.
   */
  reconcile(): Promise<number>
  /** Has everything loaded again: Redis was restarted and may hold an older copy of its data (ALL-4). */
  dropAll(): Promise<void>
}

/** Makes the coupon part of the recovery worker. Everything in it is safe to run in several processes at once. */
export function createCouponRecovery(deps: {
  redis: RedisClient
  scripts: Scripts
  db: Database
  commit: CouponCommit
  loader: PolicyLoader
  now(): number
  log: Logger
}): CouponRecovery {
  const { redis, scripts, db, commit, loader, now, log } = deps

  /** The policies that Redis may know, page by page. */
  async function* pages(): AsyncGenerator<(CouponPolicy & { issuedQuantity: number })[]> {
    const endsFrom = new Date(now() - holdersKeptMs)
    let page: (CouponPolicy & { issuedQuantity: number })[] = []
    do {
      page = await listPolicies(db, endsFrom, page.at(-1)?.id ?? 0, policiesPerPage)
      yield page
    } while (page.length === policiesPerPage)
  }

  async function findAbandoned(policy: CouponPolicy, minAgeMs: number): Promise<PolicyGrant[]> {
    const key = keys.couponPending(policy.id)
    const { entries } = await scripts.lookAtPending(key, minAgeMs, grantsPerPolicy)
    return entries.map(([userId, entry]) => ({
      ...grantOf(userId, entry),
      policyId: policy.id,
      isAbandoned: true,
    }))
  }

  /** Gives how many grants it took up. Where the queue is full, the rest waits for the next run. */
  async function finish(grants: PolicyGrant[]): Promise<number> {
    const finishing: Promise<void>[] = []
    for (const grant of grants) {
      const place = commit.reserve()
      if (!place) break
      finishing.push(
        place
          .submit(grant)
          .then((outcome) => log.warn({ grant, issued: 'coupon' in outcome }, 'abandoned grant finished'))
          .catch((error: unknown) => log.error({ err: error, grant }, 'abandoned grant not finished')),
      )
    }
    await Promise.all(finishing)
    return finishing.length
  }

  return {
    async finishAbandoned(minAgeMs) {
      let taken = 0
      for await (const page of pages()) {
        const found = await Promise.all(page.map((policy) => findAbandoned(policy, minAgeMs)))
        // One policy after the other: in one batch, a policy that somebody has locked would keep all from being written.
        for (const grants of found) taken += await finish(grants)
      }
      return taken
    },

    async reconcile() {
      let drifted = 0
      for await (const page of pages()) {
        const states = await Promise.all(page.map((policy) => scripts.inspectPolicy(policy.id)))
        const suspects = page.filter((policy, index) => {
          const state = states[index]
          const expected =
            policy.totalQuantity - policy.issuedQuantity - (state?.pendingCouponIds.length ?? 0)
          return (
            state !== undefined &&
            state.remaining !== null &&
            (state.remaining !== expected || state.terms !== termsOf(policy))
          )
        })
        for (const policy of suspects) if (await dropIfDrifted(policy)) drifted++
        for (const [index, policy] of page.entries()) {
          const isMissing = states[index]?.remaining === null && policy.issueEndsAt.getTime() > now()
          if (isMissing) await loader.load(policy)
        }
      }
      return drifted
    },

    async dropAll() {
      for await (const page of pages()) {
        await Promise.all(page.map(dropPolicy))
      }
    },
  }

  /** Has a policy loaded again, its holders included. */
  async function dropPolicy(policy: CouponPolicy): Promise<void> {
    await redis.hdel(keys.couponPolicy(policy.id), 'remaining', 'holdersUpTo', 'loader')
  }

  async function dropIfDrifted(policy: CouponPolicy): Promise<boolean> {
    const look = await comparePolicy({ scripts, db }, policy)
    // Where something was admitted or settled meanwhile, the next run looks again.
    if (look.outcome !== 'DIFFERENT') return false
    log.error({ policyId: policy.id, redis: look.redis, postgres: look.postgres }, `${look.what} drifted`)
    // What made it wrong, as a lost settlement does a quantity, may have lost a holder as well.
    await dropPolicy(policy)
    return true
  }
}
