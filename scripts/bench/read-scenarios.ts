import { addProducts, analyze } from './dataset.ts'
import { compare, type Prepare } from './scenario.ts'

const PRODUCTS = 1000

/** Reads of single products, drawn from so many. */
export const readOver =
  (products: number): Prepare =>
  async ({ sql, warm }) => {
    const firstProduct = await addProducts(sql, products)
    await analyze(sql)
    await warm()
    return async () => ({ kind: 'product', firstProduct, products })
  }

export const productRead = compare({
  name: 'product-read',
  about: `reads of one of ${PRODUCTS.toLocaleString('en')} products, its stock included`,
  isCommitted: false,
  expects: ['200'],
  bare: { kind: 'product', firstProduct: 1, products: PRODUCTS },
  prepare: readOver(PRODUCTS),
})
