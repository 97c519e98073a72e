import { couponIssue, couponRepeat, couponSoldOut } from './coupon-scenarios.ts'
import { growth } from './growth-scenario.ts'
import { atHalfRate } from './latency-scenarios.ts'
import { orderCoupon, orderHot, orderSpread } from './order-scenarios.ts'
import { mix, popular, productRead } from './read-scenarios.ts'
import { compare, type Scenario } from './scenario.ts'

const comparisons = [
  couponIssue,
  couponSoldOut,
  couponRepeat,
  orderHot,
  orderSpread,
  orderCoupon,
  productRead,
  popular,
  mix,
]

/** All scenarios, in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  ...comparisons.map(compare),
  growth,
  atHalfRate('latency', couponIssue),
  atHalfRate('latency-order', orderHot),
]
