import type { Database } from '../db/client.ts'
import { createLookup, type Lookup } from '../db/lookup.ts'
import { findProducts } from './product.sql.ts'
import type { Product } from './product.ts'
import type { StockLoader } from './stock.load.ts'

/** Products without their stock never change; the bound is the only reason to forget one. */
const cachedProducts = 20_000

/** The products by id, without their stock. */
export type Catalog = Lookup<Product>

/** Makes the catalog of this process. */
export function createCatalog(db: Database): Catalog {
  return createLookup({ read: (ids) => findProducts(db, ids), maxKnown: cachedProducts })
}

/**
 * The loader for requests: what the catalog does not have is not looked for in the stock, so that orders of products
 * that do not exist cost Postgres no more than asking for these products does.
 */
export function loadingExisting(catalog: Catalog, loader: StockLoader): StockLoader {
  return {
    async load(productIds) {
      const found = await Promise.all(productIds.map((productId) => catalog.find(productId)))
      const existing = productIds.filter((_, index) => found[index])
      const vanished = existing.length > 0 ? await loader.load(existing) : []
      return productIds.filter((productId, index) => !found[index] || vanished.includes(productId))
    },
  }
}
