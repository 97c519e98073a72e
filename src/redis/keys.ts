/**
 * The one place that spells Redis keys. What stands between the braces is the hash tag: all keys of one script share
 * it, so the scripts run on Redis Cluster too.
 */
export const keys = {
  couponPolicy: (policyId: number) => `coupon:{${policyId}}:policy`,
  couponHolder: (policyId: number, userId: number) => `coupon:{${policyId}}:holder:${userId}`,
  couponPending: (policyId: number) => `coupon:{${policyId}}:pending`,
  /** redlock keys: who loads a policy, who runs a singleton job */
  couponLoadLock: (policyId: number) => `coupon:{${policyId}}:load-lock`,
  jobLock: (job: string) => `lock:{${job}}`,
}
