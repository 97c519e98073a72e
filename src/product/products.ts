import { classifyFailure } from '../db/failure.ts'
import type { IdempotentCall, Replay } from '../db/idempotency.ts'
import { writeOnce } from '../db/write-once.ts'
import type { Deps } from '../deps.ts'
import { type Refusal, refuse } from '../errors.ts'
import type { Catalog } from './catalog.ts'
import { insertProduct, listProducts } from './product.sql.ts'
import type { Product, StockedProduct } from './product.ts'
import { commitRestock } from './restock.ts'
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
    // Without the lists of many where it is there, as it nearly always is.
    const units = await stock.look(id)
    return { id, name, price, stock: units ?? ((await stock.available([id])).get(id) as number) }
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
  async function create(
    input: { name: string; price: number; stock: number },
    call: IdempotentCall<StockedProduct> | undefined,
    requestId: string,
  ): Promise<StockedProduct | Replay | Refusal<'IDEMPOTENCY_KEY_REUSED'>> {
    const at = new Date(now())
    const outcome = await writeOnce(transactions, call, at, async (tx): Promise<StockedProduct> => {
      const { id, name, price } = await insertProduct(tx, input, at)
      return { id, name, price, stock: input.stock }
    })
    if ('refused' in outcome || 'replay' in outcome) return outcome
    const { id, name, price } = outcome
    catalog.learn({ id, name, price })
    await loader
      .load([id])
      .catch((error: unknown) =>
        log.warn({ err: error, productId: id, requestId }, 'new product not loaded yet'),
      )
    return outcome
  }

  /**
   * Adds units to a product, once in each store whatever dies in between: the entry announced first makes recovery
   * finish in Redis what Postgres has. The answer is kept with the effect, so the stock in it is what was left when the
   * restock came, and the new units. @throws Unavailable when a store is away; it may then have been added
   */
  async function restock(
    productId: number,
    quantity: number,
    call: IdempotentCall<StockedProduct> | undefined,
    requestId: string,
  ): Promise<
    StockedProduct | Replay | Refusal<'PRODUCT_NOT_FOUND' | 'VALIDATION_FAILED' | 'IDEMPOTENCY_KEY_REUSED'>
  > {
    const product = await get(productId)
    if ('refused' in product) return product
    const restocked = { ...product, stock: product.stock + quantity }
    const id = newId()
    const at = new Date(now())
    const entries = await stock.announce({
      kind: 'restock',
      id,
      orderId: '',
      lines: [{ productId, quantity }],
    })
    try {
      const outcome = await writeOnce(
        transactions,
        call,
        at,
        async (tx) => (await commitRestock(tx, { id, productId, quantity, at })) ?? restocked,
      )
      await settle(entries, !('refused' in outcome || 'replay' in outcome), requestId)
      return outcome
    } catch (error) {
      // Where the outcome is unknown, recovery finds it out.
      if (classifyFailure(error) !== 'unknown') await settle(entries, false, requestId)
      throw error
    }
  }

  async function settle(
    entries: Awaited<ReturnType<Stock['announce']>>,
    committed: boolean,
    requestId: string,
  ): Promise<void> {
    await stock
      .settle(
        entries.map((entry) => ({ ...entry, committed, units: committed ? 'give' : 'keep', sold: null })),
      )
      .catch((error: unknown) => log.warn({ err: error, requestId }, 'restock not settled, left to recovery'))
  }

  return { find, get, list, withStock, create, restock }
}
