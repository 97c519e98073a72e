/**
 * The one place that spells Redis keys. What stands between the braces is the hash tag: all keys of one script share
 * it, so the scripts run on Redis Cluster too.
 */
export const keys = {
  couponPolicy: (policyId: number) => `coupon:{${policyId}}:policy`,
  couponHolder: (policyId: number, userId: number) => `coupon:{${policyId}}:holder:${userId}`,
  /** by another name than the stream that was here before the hash, which a Redis that is upgraded may still have */
  couponPending: (policyId: number) => `coupon:{${policyId}}:pending-grants`,
  stockAvailable: (shard: number) => `stock:{${shard}}:available`,
  stockPending: (shard: number) => `stock:{${shard}}:pending-entries`,
  stockLoading: (shard: number) => `stock:{${shard}}:loading`,
  /** `day` is yyyymmdd in Asia/Seoul */
  stockSales: (shard: number, day: string) => `stock:{${shard}}:sales:${day}`,
  /** the days whose sales are complete */
  stockCounted: (shard: number) => `stock:{${shard}}:counted`,
  stockSalesLog: (shard: number) => `stock:{${shard}}:sales-log`,
  /** a call with an Idempotency-Key that is under way; `digest` of its user, route and key */
  idempotencyClaim: (digest: string) => `idempotency:{${digest}}`,
  /** writes of a user in the window that runs */
  rateLimit: (userId: number) => `rate-limit:{${userId}}`,
  /** redlock keys: who loads a policy, who runs a singleton job */
  couponLoadLock: (policyId: number) => `coupon:{${policyId}}:load-lock`,
  jobLock: (job: string) => `lock:{${job}}`,
}

/** What SCAN finds the holders of all policies by. */
export const holderPattern = 'coupon:{*}:holder:*'

/** Whose holder a key is, or undefined when it is none. */
export function readHolderKey(key: string): { policyId: number; userId: number } | undefined {
  const [, policyId, userId] = /^coupon:\{(\d+)\}:holder:(\d+)$/.exec(key) ?? []
  return policyId === undefined ? undefined : { policyId: Number(policyId), userId: Number(userId) }
}
