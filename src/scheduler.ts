import { Cron } from 'croner'
import { expireCoupons } from './coupon/coupon.expire.ts'
import { prune } from './db/prune.ts'
import type { Deps } from './deps.ts'
import type { Domains } from './domains.ts'
import { keys } from './redis/keys.ts'

const lockTtlMs = 30_000

/**
 * Starts the jobs of the scheduler, by the clock of Asia/Seoul. Each is idempotent, and behind a lock only so that
 * several schedulers do not all do the same. Gives the function that stops them, which waits for those under way.
 */
export function startScheduler(deps: Deps, domains: Domains): () => Promise<void> {
  const { db, locks, log, now } = deps
  const stopping = new AbortController()
  const underWay = new Set<Promise<void>>()

  function schedule(name: string, pattern: string, job: () => Promise<void>): Cron {
    const run = async (): Promise<void> => {
      const running = locks
        .tryWith(keys.jobLock(name), lockTtlMs, job)
        .then(() => undefined)
        .catch((error: unknown) => log.error({ err: error, job: name }, 'job failed; it is due again later'))
      underWay.add(running)
      await running
      underWay.delete(running)
    }
    return new Cron(pattern, { name, timezone: 'Asia/Seoul', protect: true }, run)
  }

  const jobs = [
    // 00:00 is the one that matters; the others catch up what was missed or failed.
    schedule('popular-snapshot', '*/10 * * * *', async () => {
      await domains.rankings.catchUp(stopping.signal)
    }),
    schedule('coupon-expiry', '* * * * *', async () => {
      const marked = await expireCoupons(db, new Date(now()), stopping.signal)
      if (marked > 0) log.info({ marked }, 'coupons expired')
    }),
    schedule('prune', '17 * * * *', async () => {
      const deleted = await prune(db, new Date(now()), stopping.signal)
      if (deleted > 0) log.info({ deleted }, 'old rows pruned')
    }),
  ]
  // A midnight that passed while nothing ran is caught up at once.
  void jobs[0]?.trigger()

  return async () => {
    stopping.abort()
    for (const job of jobs) job.stop()
    await Promise.all(underWay)
  }
}
