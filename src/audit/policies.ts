import { listPolicies } from '../coupon/coupon.sql.ts'
import { type CouponPolicy, holdersKeptMs } from '../coupon/coupon.ts'
import type { Database } from '../db/client.ts'

const policiesPerPage = 500
/** Redis forgets a policy by its own clock, which may be ahead of this one, ms. */
const clockMarginMs = 60_000

/** The policies that Redis may know, page by page. */
export async function* policiesInRedis(deps: {
  db: Database
  now(): number
}): AsyncGenerator<CouponPolicy[]> {
  const endsFrom = new Date(deps.now() - holdersKeptMs + clockMarginMs)
  for (let page: CouponPolicy[] = [], isFirst = true; isFirst || page.length === policiesPerPage; ) {
    isFirst = false
    page = await listPolicies(deps.db, endsFrom, page.at(-1)?.id ?? 0, policiesPerPage)
    yield page
  }
}
