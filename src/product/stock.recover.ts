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
/**
 * Groups of entries, of all shards, that a run has wait for locks held elsewhere. Each keeps a connection meanwhile, of
 * which a process has four at least (`COMMIT_MAX_IN_FLIGHT` for each kind of write): most stay with the requests.
 */
const maxWaitingGroups = 2

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
const locked = sql`
  select ${products.id} as "id" from ${products}
  where ${products.id} = any(${sql.placeholder('ids')}::text::bigint[])
  order by ${products.id} for no key update`
const lockProducts = {
  all: statement<{ ids: string }, { id: number }>(locked),
  free: statement<{ ids: string }, { id: number }>(sql`${locked} skip locked`),
}

/** Entries of a shard that the same products keep waiting: they are locked elsewhere. */
interface WaitingGroup {
  shard: number
  productIds: number[]
  entries: StockEntry[]
}

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
  /** Counts the groups that have been waited for, so that all have their turn. */
  let turn = 0

  async function readAbandoned(shard: number, minAgeMs: number): Promise<StockEntry[]> {
    const { entries } = await scripts.lookAtPending(keys.stockPending(shard), minAgeMs, entriesPerShard)
    return entries.map(([id, entry]) => stockEntryOf(id, entry))
  }

  /** Settles a shard's entries whose products nobody has locked. Gives how many, and the others. */
  async function settleFree(shard: number, minAgeMs: number) {
    const entries = await readAbandoned(shard, minAgeMs)
    if (entries.length === 0) return { settled: 0, waiting: [] }
    const { settled, left } = await settleLocked(shard, entries, 'free')
    const groups = Map.groupBy(left, ({ lockedElsewhere }) => lockedElsewhere.join())
    const waiting = [...groups].map(
      ([ids, group]): WaitingGroup => ({
        shard,
        productIds: ids.split(',').map(Number),
        entries: group.map(({ entry }) => entry),
      }),
    )
    return { settled, waiting }
  }

  /** Waits for the locks of a few groups, and gives how many entries were settled. The others' turn is in a later run. */
  async function settleWaiting(groups: WaitingGroup[]): Promise<number> {
    const first = groups.length === 0 ? 0 : turn % groups.length
    const chosen = [...groups.slice(first), ...groups.slice(0, first)].slice(0, maxWaitingGroups)
    turn += chosen.length
    const counts = await Promise.all(
      chosen.map(async ({ shard, productIds, entries }) => {
        try {
          return (await settleLocked(shard, entries, 'all')).settled
        } catch (error) {
          log.warn({ err: error, shard, productIds }, 'abandoned entries not settled')
          return 0
        }
      }),
    )
    return sum(counts)
  }

  /**
   * Settles the entries all of whose products it can lock: waiting for the locks, or only the `free` ones. Gives how
   * many, and those left with the products that are locked elsewhere.
   */
  async function settleLocked(shard: number, entries: StockEntry[], which: keyof typeof lockProducts) {
    const { left, decided, known } = await transactions.run((tx) =>
      fenceUndecided(tx, entries, which, new Date(now())),
    )
    await stock.settle(
      decided.map((entry) => {
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
    return { settled: decided.length, left }
  }

  return {
    async finishAbandoned(minAgeMs) {
      // A product that stays locked, by an operator's transaction for example, keeps its own entries waiting and no others.
      const ends = await Promise.allSettled(allShards.map((shard) => settleFree(shard, minAgeMs)))
      const free = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []))
      const waited = await settleWaiting(free.flatMap(({ waiting }) => waiting))
      const failed = ends.find((end) => end.status === 'rejected')
      if (failed) throw failed.reason
      return sum(free.map(({ settled }) => settled)) + waited
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

/**
 * Of the entries whose products it locks, reads what became of them, and fences those that came to nothing yet, so that
 * they never will. Those left have products that are locked elsewhere.
 */
async function fenceUndecided(
  tx: Transaction,
  entries: StockEntry[],
  which: keyof typeof lockProducts,
  at: Date,
) {
  const productsOf = (entry: StockEntry) => entry.lines.map(({ productId }) => productId)
  const productIds = [...new Set(entries.flatMap(productsOf))]
  const orderIds = new Set(entries.flatMap(({ orderId }) => (orderId === '' ? [] : [orderId])))
  const [lockedRows, orderRows, restockRows] = await Promise.all([
    tx.read(lockProducts[which], { ids: bigints(productIds) }),
    tx.read(readOrders, { ids: uuids([...orderIds]) }),
    tx.read(readRestocks, {
      ids: uuids(entries.filter(({ kind }) => kind === 'restock').map(({ id }) => id)),
    }),
  ])
  const known = {
    orders: new Map(orderRows.map((row) => [row.id, row])),
    restocks: new Set(restockRows.map(({ id }) => id)),
  }
  const isLocked = new Set(lockedRows.map(({ id }) => id))
  const looked = entries.map((entry) => ({
    entry,
    lockedElsewhere: which === 'all' ? [] : productsOf(entry).filter((id) => !isLocked.has(id)),
  }))
  const left = looked.filter(({ lockedElsewhere }) => lockedElsewhere.length > 0)
  const decided = looked
    .filter(({ lockedElsewhere }) => lockedElsewhere.length === 0)
    .map(({ entry }) => entry)
  // Sorted: two recoveries, of two shards, may fence the same orders.
  const undecided = decided
    .filter((entry) => !isEffective(entry, known))
    .map(({ id }) => id)
    .sort()
  if (undecided.length > 0) tx.write(insertFences, { ids: uuids(undecided), at: at.toISOString() })
  return { left, decided, known }
}

function sum(counts: number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}
