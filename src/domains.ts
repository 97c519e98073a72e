import { type Audit, createAudit } from './audit/audit.ts'
import { type Balances, createBalances } from './balance/balances.ts'
import { type Coupons, createCoupons } from './coupon/coupons.ts'
import type { Deps } from './deps.ts'
import { createOrders, type Orders } from './order/orders.ts'
import { createOutbox, type Outbox } from './outbox/outbox.ts'
import { createRankings, type Rankings } from './popular/rankings.ts'
import { createCatalog, loadingExisting } from './product/catalog.ts'
import { createProducts, type Products } from './product/products.ts'
import { createStockLoader } from './product/stock.load.ts'
import { createStockRecovery } from './product/stock.recover.ts'
import { createStock } from './product/stock.ts'
import { createWarm, type Warm } from './warm/warm.ts'
import { countedRecovery, watchBacklogs } from './watch.ts'

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
  outbox: Outbox
  audit: Audit
  warm: Warm
  recoveries: Recovery[]
  /** Refuses new writes and resolves when those under way, and what is on its way to the data platform, have ended. */
  drain(): Promise<void>
}

/** Builds the domains over the clients. */
export function createDomains(deps: Deps): Domains {
  const shards = deps.env.STOCK_SHARDS
  const loader = createStockLoader({ ...deps, shards })
  const catalog = createCatalog(deps.db)
  const stock = createStock({ ...deps, loader: loadingExisting(catalog, loader), shards })
  const balances = createBalances(deps)
  const coupons = createCoupons(deps)
  const products = createProducts({ ...deps, catalog, stock, loader })
  const outbox = createOutbox(deps)
  const orders = createOrders({ ...deps, stock, onEvents: outbox.wake })
  watchBacklogs(deps, outbox)
  const rankings = createRankings({ ...deps, products })
  const loaders = { policyLoader: coupons.loader, stockLoader: loader }
  const commits = [coupons.commit, balances.commit, ...orders.commits]
  return {
    balances,
    coupons,
    products,
    orders,
    rankings,
    outbox,
    audit: createAudit({ ...deps, ...loaders, recount: rankings.recount }),
    warm: createWarm({ ...deps, ...loaders }),
    recoveries: [
      countedRecovery(deps.metrics, 'coupon', coupons.recovery),
      countedRecovery(deps.metrics, 'stock', createStockRecovery({ ...deps, stock, loader, shards })),
    ],
    async drain() {
      await Promise.all(commits.map((commit) => commit.drain()))
      await outbox.stop()
    },
  }
}
