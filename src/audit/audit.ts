import type { PolicyLoader } from '../coupon/coupon.load.ts'
import type { Deps } from '../deps.ts'
import type { StockLoader } from '../product/stock.load.ts'
import { couponRules } from './coupon.rules.ts'
import { moneyRules } from './money.rules.ts'
import { orderRules } from './order.rules.ts'
import { runPostgresRules } from './postgres.ts'
import { couponsInRedis } from './redis.coupons.ts'
import { couponsOfHolders, holdersOfCoupons } from './redis.holders.ts'
import { pendingInRedis } from './redis.pending.ts'
import { salesInRedis } from './redis.sales.ts'
import { stockInRedis } from './redis.stock.ts'
import { stockRules } from './stock.rules.ts'
import type { Change, RedisRule, Verdict } from './verdict.ts'

const hourMs = 3_600_000
/** The relay deletes delivered events by its own clock; what is about to be deleted is not asked for, ms. */
const clockMarginMs = 600_000

export type Audit = ReturnType<typeof createAudit>

/** The audit: holds the data of both stores against the rules of the business, from the data alone. */
export function createAudit(
  deps: Deps & {
    policyLoader: PolicyLoader
    stockLoader: StockLoader
    recount(shard: number, dates: string[]): Promise<void>
  },
) {
  const { patientDb, env, now, log } = deps
  const withShards = { ...deps, shards: env.STOCK_SHARDS }
  const redisRules: RedisRule[] = [
    stockInRedis(withShards),
    couponsInRedis(deps),
    holdersOfCoupons(deps),
    couponsOfHolders(deps),
    salesInRedis(withShards),
    pendingInRedis(withShards),
  ]

  return {
    /**
     * Gives the verdict. Safe while requests are served: what is under way between the stores breaks no rule. With
     * `repair`, what Redis has wrong is put right there from Postgres, and the verdict tells what is left; Postgres is
     * never changed. @throws Unavailable, or what the stores throw, when one is away
     */
    async run({
      repair = false,
      requestId,
    }: {
      repair?: boolean
      requestId?: string
    } = {}): Promise<Verdict> {
      const at = new Date(now())
      const eventsFrom = new Date(at.getTime() - env.OUTBOX_KEEP_HOURS * hourMs + clockMarginMs)
      const rules = await runPostgresRules(patientDb, [
        ...stockRules,
        ...couponRules,
        ...moneyRules,
        ...orderRules(eventsFrom),
      ])
      const changes: Change[] = []
      for (const look of redisRules) {
        let { verdict, repair: putRight } = await look()
        if (repair && verdict.violated > 0) {
          const changed = await putRight()
          changes.push(...changed)
          if (changed.length > 0) ({ verdict } = await look())
        }
        rules.push(verdict)
      }
      const broken = rules.filter(({ violated }) => violated > 0)
      if (broken.length > 0) log.error({ broken, requestId }, 'the audit found broken rules')
      if (changes.length > 0) log.warn({ changes, requestId }, 'the audit changed Redis')
      return { ok: broken.length === 0, at, rules, changes }
    },
  }
}
