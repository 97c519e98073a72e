import { couponIssue, couponRepeat, couponSoldOut } from './coupon-scenarios.ts'
import { orderCoupon, orderHot, orderSpread } from './order-scenarios.ts'
import { productRead } from './read-scenarios.ts'
import type { Scenario } from './scenario.ts'

/** All scenarios, in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  couponIssue,
  couponSoldOut,
  couponRepeat,
  orderHot,
  orderSpread,
  orderCoupon,
  productRead,
]
