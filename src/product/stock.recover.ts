import { sql } from 'drizzle-orm'
import type { Logger } from 'pino'
import type { Database } from '../db/client.ts'
import { abandonedEntries, orders, products, restocks } from '../db/schema/index.ts'
import { bigints, statement, uuids } from '../db/statement.ts'
import type { Transaction, Transactions } from '../db/transactions.ts'
import type { RedisClient } from '../redis/client.ts'
import { keys } from '../redis/keys.ts'
import type { Scripts } from '../redis/scripts.ts'
import { type StockEntry, stockEntryOf } from '../redis/stock-scripts.ts'
import { isEffective, listStock } from './product.sql.ts'
import { byShard, seoulDay } from './product.ts'
import { createStockComparison } from './stock.compare.ts'
import type { StockLoader } from './stock.load.ts'
import type { Stock } from './stock.ts'

/** Abandoned entries taken up a shard and run; the rest comes with the next run. */
const entriesPerShard = 500
const productsPerPage = 1000

export interface StockRecovery {
  /** Settles entries that have been pending for longer than `minAgeMs`. Gives how many it took up. */
  finishAbandoned(minAgeMs: number): Promise<number>
  /**
   * Loads products that Redis lacks, and has those loaded again whose units differ from Postgres. Gives how many
   * differed.
   */
  reconcile(): Promise<number>
  /** Has everything loaded again: Redis was restarted and may hold an older copy of its data (ALL-4). */
  dropAll(): Promise<void>
}

/** The same locks as placing and cancelling take, so that neither can commit between the look and the fence. */
const lockProducts = statement<{ ids: string }, never>(sql`
  select 1 from ${products} where ${products.id} = any(${sql.placeholder('ids')}::text::bigint[])
  order by ${products.id} for no key update`)

interface KnownOrder {
  id: string
  status: string
  cancellationId: string | null
  createdAt: Date
}

const readOrders = statement<{ ids: string }, KnownOrder>(sql`
  select ${orders.id} as "id", ${orders.status} as "status", ${orders.cancellationId} as "cancellationId",
    ${orders.createdAt} as "createdAt"
  from ${orders} where ${orders.id} = any(${sql.placeholder('ids')}::text::uuid[])`)

const readRestocks = statement<{ ids: string }, { id: string }>(sql`
  select ${restocks.id} as "id" from ${restocks} where ${restocks.id} = any(${sql.placeholder('ids')}::text::uuid[])`)

const insertFences = statement<{ ids: string; at: string }, never>(sql`
  insert into ${abandonedEntries} (id, abandoned_at)
  select unnest(${sql.placeholder('ids')}::text::uuid[]), ${sql.placeholder('at')}::text::timestamptz
  on conflict do nothing`)

/** Makes the stock part of the recovery worker. Everything in it is safe to run in several processes at once. */
export function createStockRecovery(deps: {
  redis: RedisClient
  scripts: Scripts
  db: Database
  transactions: Transactions
  stock: Stock
  loader: StockLoader
  shards: number
  now(): number
  log: Logger
}): StockRecovery {
  const { redis, scripts, db, transactions, stock, loader, shards, now, log } = deps
  const { compare, confirm } = createStockComparison({ scripts, db })
  const allShards = Array.from({ length: shards }, (_, shard) => shard)

  async function readAbandoned(shard: number, minAgeMs: number): Promise<StockEntry[]> {
    const { entries } = await scripts.lookAtPending(keys.stockPending(shard), minAgeMs, entriesPerShard)
    return entries.map(([id, entry]) => stockEntryOf(id, entry))
  }

  return {
    async finishAbandoned(minAgeMs) {
      let taken = 0
      for (const shard of allShards) {
        const entries = await readAbandoned(shard, minAgeMs)
        if (entries.length === 0) continue
        const known = await transactions.run((tx) => fenceUndecided(tx, entries, new Date(now())))
        await stock.settle(
          entries.map((entry) => {
            const committed = isEffective(entry, known)
            const paidAt = known.orders.get(entry.orderId)?.createdAt
            const day = committed && paidAt ? seoulDay(paidAt) : null
            const sold = day === null ? null : ({ day, sign: entry.kind === 'reserve' ? 1 : -1 } as const)
            // A reservation gives its units back when it came to nothing, the other two bring theirs when they did.
            const units = committed === (entry.kind === 'reserve') ? 'keep' : 'give'
            log.warn({ shard, entry, committed }, 'abandoned entry settled')
            return { shard, id: entry.id, lines: entry.lines, committed, units, sold }
          }),
        )
        taken += entries.length
      }
      return taken
    },

    async reconcile() {
      let drifted = 0
      let page = await listStock(db, 0, productsPerPage)
      while (page.length > 0) {
        for (const [shard, part] of byShard(page, ({ id }) => id, shards)) {
          const ids = part.map(({ id }) => id)
          const { missing, differing } = await compare(shard, ids)
          const certain = [...(await confirm(shard, differing)).keys()]
          if (certain.length > 0) {
            log.error({ shard, productIds: certain }, 'stock drifted')
            await redis.hdel(keys.stockAvailable(shard), ...certain.map(String))
            // What made them wrong, as a lost settlement does, may have lost a sale as well: the days are counted anew.
            await redis.del(keys.stockCounted(shard), keys.stockSalesLog(shard))
            drifted += certain.length
          }
          await loader.load([...missing, ...certain])
        }
        const last = page.at(-1)?.id ?? 0
        page = page.length < productsPerPage ? [] : await listStock(db, last, productsPerPage)
      }
      return drifted
    },

    async dropAll() {
      await Promise.all(
        allShards.map((shard) =>
          redis.del(
            keys.stockAvailable(shard),
            keys.stockLoading(shard),
            keys.stockCounted(shard),
            keys.stockSalesLog(shard),
          ),
        ),
      )
    },
  }
}

/** Reads what became of entries, and fences those that came to nothing yet, so that they never will. */
async function fenceUndecided(
  tx: Transaction,
  entries: StockEntry[],
  at: Date,
): Promise<{ orders: Map<string, KnownOrder>; restocks: Set<string> }> {
  const productIds = new Set(entries.flatMap(({ lines }) => lines.map(({ productId }) => productId)))
  const orderIds = new Set(entries.flatMap(({ orderId }) => (orderId === '' ? [] : [orderId])))
  const [, orderRows, restockRows] = await Promise.all([
    tx.read(lockProducts, { ids: bigints([...productIds]) }),
    tx.read(readOrders, { ids: uuids([...orderIds]) }),
    tx.read(readRestocks, {
      ids: uuids(entries.filter(({ kind }) => kind === 'restock').map(({ id }) => id)),
    }),
  ])
  const known = {
    orders: new Map(orderRows.map((row) => [row.id, row])),
    restocks: new Set(restockRows.map(({ id }) => id)),
  }
  // Sorted: two recoveries, of two shards, may fence the same orders.
  const undecided = entries
    .filter((entry) => !isEffective(entry, known))
    .map(({ id }) => id)
    .sort()
  if (undecided.length > 0) tx.write(insertFences, { ids: uuids(undecided), at: at.toISOString() })
  return known
}
