import { addBalances, addPolicy, addProducts, settlePostgres } from './dataset.ts'
import type { Comparison, Prepare } from './scenario.ts'

/** Users of the scenarios without coupons take turns; each can pay for thousands of orders. */
const USERS = 20_000
const SPREAD = 1000
const LINES = 3

/** Orders of one line over so many products. */
export const orderOver =
  (products: number): Prepare =>
  async ({ data: { sql, warm } }) => {
    const firstProduct = await addProducts(sql, products)
    await addBalances(sql, USERS)
    await settlePostgres(sql)
    await warm()
    return async () => ({ kind: 'order', firstProduct, products, lines: 1, users: USERS })
  }

export const orderHot: Comparison = {
  name: 'order-hot',
  about: 'orders of one unit of one product, by users in turn',
  isCommitted: true,
  expects: ['201'],
  bare: { kind: 'order', firstProduct: 1, products: 1, lines: 1, users: USERS },
  prepare: orderOver(1),
}

export const orderSpread: Comparison = {
  name: 'order-spread',
  about: `orders of one unit of one of ${SPREAD.toLocaleString('en')} products`,
  isCommitted: true,
  expects: ['201'],
  bare: { kind: 'order', firstProduct: 1, products: SPREAD, lines: 1, users: USERS },
  prepare: orderOver(SPREAD),
}

export const orderCoupon: Comparison = {
  name: 'order-coupon',
  about: `orders of ${LINES} of ${SPREAD.toLocaleString('en')} products with a coupon`,
  isCommitted: true,
  expects: ['201'],
  bare: {
    kind: 'order',
    firstProduct: 1,
    products: SPREAD,
    lines: LINES,
    users: USERS,
    coupons: { policyId: 1, count: 100_000_000 },
  },
  async prepare({ data: { sql, warm } }, { budget }) {
    const firstProduct = await addProducts(sql, SPREAD)
    await addBalances(sql, budget)
    await settlePostgres(sql)
    await warm()
    return async () => {
      const policyId = await addPolicy(sql, { total: budget, issued: budget, isOver: true })
      const coupons = { policyId, count: budget }
      return { kind: 'order', firstProduct, products: SPREAD, lines: LINES, users: budget, coupons }
    }
  },
}
