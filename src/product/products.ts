import { classifyFailure } from '../db/failure.ts'
import type { Deps } from '../deps.ts'
import { type Refusal, refuse, Unavailable } from '../errors.ts'
import type { Catalog } from './catalog.ts'
import { insertProduct, listProducts } from './product.sql.ts'
import type { Product, StockedProduct } from './product.ts'
import { commitRestock, maxStock, type RestockOutcome } from './restock.ts'
import type { StockLoader } from './stock.load.ts'
import type { Stock } from './stock.ts'

export type Products = ReturnType<typeof createProducts>

/** The product domain: create, restock, list, get. */
export function createProducts(deps: Deps & { catalog: Catalog; stock: Stock; loader: StockLoader }) {
  const { db, transactions, catalog, stock, loader, now, newId, log } = deps
  const { find } = catalog

  /** A product with its stock (PRD-1, PRD-2). @throws Unavailable when the stock cannot be known now */
  async function get(productId: number): Promise<StockedProduct | Refusal<'PRODUCT_NOT_FOUND'>> {
    const product = catalog.known(productId) ?? (await find(productId))
    if (!product) return refuse('PRODUCT_NOT_FOUND')
    const { id, name, price } = product
    return { id, name, price, stock: await stock.availableOf(id) }
  }

  /** A page of products by id, those after `afterId`, each with its stock. */
  async function list(afterId: number, limit: number): Promise<StockedProduct[]> {
    return withStock(await listProducts(db, afterId, limit))
  }

  /** Products with what can still be reserved of each. */
  async function withStock(found: Product[]): Promise<StockedProduct[]> {
    const units = await stock.available(found.map(({ id }) => id))
    return found.map(({ id, name, price }) => ({ id, name, price, stock: units.get(id) as number }))
  }

  /** Creates a product and makes it ready in Redis, so that its first buyer does not wait for that. */
  async function create(input: { name: string; price: number; stock: number }): Promise<StockedProduct> {
    const product = await insertProduct(db, input, new Date(now()))
    catalog.learn(product)
    await loader
      .load([product.id])
      .catch((error: unknown) =>
        log.warn({ err: error, productId: product.id }, 'new product not loaded yet'),
      )
    return { ...product, stock: input.stock }
  }

  /**
   * Adds units to a product, once in each store whatever dies in between: the entry announced first makes recovery
   * finish in Redis what Postgres has. @throws Unavailable when a store is away; it may then have been added
   */
  async function restock(
    productId: number,
    quantity: number,
  ): Promise<StockedProduct | Refusal<'PRODUCT_NOT_FOUND' | 'VALIDATION_FAILED'>> {
    if (!(await find(productId))) return refuse('PRODUCT_NOT_FOUND')
    const id = newId()
    const lines = [{ productId, quantity }]
    const entries = await stock.announce({ kind: 'restock', id, orderId: '', lines })
    let outcome: RestockOutcome | undefined
    try {
      outcome = await transactions.run((tx) =>
        commitRestock(tx, { id, productId, quantity, at: new Date(now()) }),
      )
    } catch (error) {
      // Where the outcome is unknown, recovery finds it out.
      if (classifyFailure(error) === 'unknown') throw error
      await settle(entries, false)
      throw error
    }
    await settle(entries, outcome === 'restocked')
    switch (outcome) {
      case 'restocked':
        return get(productId)
      case 'no product':
        return refuse('PRODUCT_NOT_FOUND')
      case 'over the limit':
        return refuse('VALIDATION_FAILED', undefined, {
          errors: [{ path: 'quantity', message: `a product has at most ${maxStock} units` }],
        })
      case 'abandoned':
        throw new Unavailable('the restock took so long that recovery gave it up')
    }
  }

  async function settle(entries: Awaited<ReturnType<Stock['announce']>>, committed: boolean): Promise<void> {
    await stock
      .settle(
        entries.map((entry) => ({ ...entry, committed, units: committed ? 'give' : 'keep', sold: null })),
      )
      .catch((error: unknown) => log.warn({ err: error }, 'restock not settled, left to recovery'))
  }

  return { find, get, list, withStock, create, restock }
}
