import { type Balances, createBalances } from './balance/balances.ts'
import { type Coupons, createCoupons } from './coupon/coupons.ts'
import type { Deps } from './deps.ts'
import { createOrders, type Orders } from './order/orders.ts'
import { createRankings, type Rankings } from './popular/rankings.ts'
import { createProducts, type Products } from './product/products.ts'
import { createStockLoader } from './product/stock.load.ts'
import { createStockRecovery } from './product/stock.recover.ts'
import { createStock } from './product/stock.ts'

/** What the recovery worker does for a domain that keeps something in Redis. */
export interface Recovery {
  /** Finishes or gives back what has been pending for longer than `minAgeMs`. Gives how much it took up. */
  finishAbandoned(minAgeMs: number): Promise<number>
  /** Loads what Redis lacks, and again what differs from Postgres. Gives how much differed. */
  reconcile(): Promise<number>
  /** Has everything loaded again: Redis may hold an older copy of its data (ALL-4). */
  dropAll(): Promise<void>
}

/** All domains, and what the program does with them as a whole. */
export interface Domains {
  balances: Balances
  coupons: Coupons
  products: Products
  orders: Orders
  rankings: Rankings
  recoveries: Recovery[]
  /** Refuses new writes and resolves when those under way have ended. */
  drain(): Promise<void>
}

/** Builds the domains over the clients. */
export function createDomains(deps: Deps): Domains {
  const shards = deps.env.STOCK_SHARDS
  const loader = createStockLoader({ ...deps, shards })
  const stock = createStock({ ...deps, loader, shards })
  const balances = createBalances(deps)
  const coupons = createCoupons(deps)
  const products = createProducts({ ...deps, stock, loader })
  const orders = createOrders({ ...deps, stock })
  const commits = [coupons.commit, balances.commit, ...orders.commits]
  return {
    balances,
    coupons,
    products,
    orders,
    rankings: createRankings({ ...deps, products }),
    recoveries: [coupons.recovery, createStockRecovery({ ...deps, stock, loader, shards })],
    async drain() {
      await Promise.all(commits.map((commit) => commit.drain()))
    },
  }
}
