import { lookAtPendingGrants } from './coupon/coupon.pending.ts'
import type { Deps } from './deps.ts'
import type { Recovery } from './domains.ts'
import type { Outbox } from './outbox/outbox.ts'
import { keys } from './redis/keys.ts'
import { readPending } from './redis/pending.ts'
import type { KeptKind, Metrics } from './telemetry/metrics.ts'

/**
 * Has workers tell at each scrape what waits in both stores. It is the same from wherever one looks, so the other
 * processes are spared it.
 */
export function watchBacklogs(deps: Deps, outbox: Outbox): void {
  const { env, scripts, metrics } = deps
  if (!env.ROLES.includes('worker')) return
  metrics.watchPending('coupon', () => lookAtPendingGrants(deps))
  const stockKeys = Array.from({ length: env.STOCK_SHARDS }, (_, shard) => keys.stockPending(shard))
  metrics.watchPending('stock', () => readPending(scripts, stockKeys))
  metrics.watchRelay(outbox.stats)
  metrics.watchOutbox(outbox)
}

/** The same recovery, which counts what it finds. */
export function countedRecovery(metrics: Metrics, kind: KeptKind, recovery: Recovery): Recovery {
  const { settled, drifted } = metrics.recovery(kind)
  return {
    ...recovery,
    async finishAbandoned(minAgeMs) {
      const count = await recovery.finishAbandoned(minAgeMs)
      settled(count)
      return count
    },
    async reconcile() {
      const count = await recovery.reconcile()
      drifted(count)
      return count
    },
  }
}
