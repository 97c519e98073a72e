import type { Database } from '../db/client.ts'
import { keys } from '../redis/keys.ts'
import { madeAtOf } from '../redis/pending.ts'
import type { Scripts } from '../redis/scripts.ts'
import { policiesInRedis } from './policies.ts'
import { type RedisRule, type Violation, verdictOf } from './verdict.ts'

/** The least age at which an entry counts as forgotten, ms: recovery takes it up after seconds. */
const forgottenMs = 300_000
/** Where recovery takes entries up later than usual, they are forgotten later too: times its own age. */
const recoveryRounds = 5
const entriesPerKey = 1000
const rule = {
  rule: 'redis-pending',
  about: 'nothing is pending for minutes: a worker finishes or gives back what was left (ALL-4)',
}

/** Pending entries in Redis. Taking up old ones is for the recovery worker, so there is nothing to repair. */
export function pendingInRedis(deps: {
  scripts: Scripts
  db: Database
  shards: number
  env: { RECOVERY_MIN_AGE_MS: number }
  now(): number
}): RedisRule {
  const { scripts, shards, env } = deps

  return async () => {
    const minAgeMs = Math.max(forgottenMs, recoveryRounds * env.RECOVERY_MIN_AGE_MS)
    const violations: Violation[] = []
    let looked = 0

    async function lookAt(pendingKeys: string[]): Promise<void> {
      for (const key of pendingKeys) {
        const { length, nowMs, entries } = await scripts.lookAtPending(key, minAgeMs, entriesPerKey)
        looked += length
        for (const [field, entry] of entries) violations.push({ key, field, ageMs: nowMs - madeAtOf(entry) })
      }
    }
    await lookAt(Array.from({ length: shards }, (_, shard) => keys.stockPending(shard)))
    for await (const page of policiesInRedis(deps)) await lookAt(page.map(({ id }) => keys.couponPending(id)))
    return { verdict: verdictOf(rule, { looked, violations }), repair: async () => [] }
  }
}
