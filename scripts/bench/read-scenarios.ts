import { addBalances, addPolicy, addProducts, PRICE_WON, settlePostgres } from './dataset.ts'
import type { Comparison, Prepare } from './scenario.ts'

const PRODUCTS = 1000
const USERS = 20_000
const RANKED = 8
const SOLD_OUT = 100
const PLENTY = 100_000_000
const NEW_USERS = 5_000_001

/** Reads of single products, drawn from so many. */
export const readOver =
  (products: number): Prepare =>
  async ({ data: { sql, warm } }) => {
    const firstProduct = await addProducts(sql, products)
    await settlePostgres(sql)
    await warm()
    return async () => ({ kind: 'product', firstProduct, products })
  }

export const productRead: Comparison = {
  name: 'product-read',
  about: `reads of one of ${PRODUCTS.toLocaleString('en')} products, its stock included`,
  isCommitted: false,
  expects: ['200'],
  bare: { kind: 'product', firstProduct: 1, products: PRODUCTS },
  prepare: readOver(PRODUCTS),
}

export const popular: Comparison = {
  name: 'popular',
  about: 'reads of the five products sold most',
  isCommitted: false,
  expects: ['200'],
  bare: { kind: 'popular' },
  async prepare({ baseUrl, data: { sql, warm } }) {
    const firstProduct = await addProducts(sql, RANKED)
    await addBalances(sql, USERS)
    await settlePostgres(sql)
    await warm()
    for (let index = 0; index < RANKED; index++) await sell(baseUrl, firstProduct + index, index + 1)
    return async () => ({ kind: 'popular' })
  },
}

/** One paid order, so that the product has a place in the ranking. */
async function sell(baseUrl: string, productId: number, quantity: number): Promise<void> {
  const response = await fetch(`${baseUrl}/v1/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ userId: quantity, items: [{ productId, quantity }] }),
  })
  const text = await response.text()
  if (response.status !== 201) throw new Error(`an order of ${quantity * PRICE_WON} won was answered ${text}`)
}

export const mix: Comparison = {
  name: 'mix',
  about: '60 % product reads, 10 % each popular, coupons, coupons sold out, orders with a key',
  isCommitted: false,
  expects: ['200', '201', '409 COUPON_SOLD_OUT'],
  bare: mixOf({ firstProduct: 1, issuing: 1, soldOut: 2 }),
  async prepare({ data: { sql, warm } }) {
    const firstProduct = await addProducts(sql, PRODUCTS)
    await addBalances(sql, USERS)
    const soldOut = await addPolicy(sql, { total: SOLD_OUT, issued: SOLD_OUT })
    await settlePostgres(sql)
    await warm()
    return async () => {
      const issuing = await addPolicy(sql, { total: PLENTY })
      await warm(issuing)
      return mixOf({ firstProduct, issuing, soldOut })
    }
  },
}

function mixOf({ firstProduct, issuing, soldOut }: Record<'firstProduct' | 'issuing' | 'soldOut', number>) {
  const products = { firstProduct, products: PRODUCTS }
  return {
    kind: 'mix' as const,
    parts: [
      { weight: 6, traffic: { kind: 'product' as const, ...products } },
      { weight: 1, traffic: { kind: 'popular' as const } },
      { weight: 1, traffic: { kind: 'issue' as const, policyId: issuing, firstUser: 1 } },
      { weight: 1, traffic: { kind: 'issue' as const, policyId: soldOut, firstUser: NEW_USERS } },
      {
        weight: 1,
        traffic: {
          kind: 'order' as const,
          ...products,
          lines: 1,
          users: USERS,
          keyed: `order beside policy ${issuing}`,
        },
      },
    ],
  }
}
