import type { Deps } from '../deps.ts'
import { type Refusal, refuse, Unavailable } from '../errors.ts'
import type { StockedProduct } from '../product/product.ts'
import type { Products } from '../product/products.ts'
import { findLatestDate, findSnapshot, type SnapshotItem } from './popular.sql.ts'
import { addDays, compact, dashed, places, rank, seoulDate, windowUpTo } from './popular.ts'
import { createRecount } from './recount.ts'
import { createSnapshots } from './snapshot.ts'

/** Before this midnight nothing was sold, and no snapshot is taken: Redis and Postgres count time from 1970 on. */
const firstDate = '1970-01-02'
/** A ranking may be this old, ms. */
const cacheMs = 1000
/** How long a call waits for days that are being counted, ms. */
const patienceMs = 3000

export interface LiveRanking {
  from: string
  to: string
  items: (Omit<StockedProduct, 'id'> & { rank: number; productId: number; soldQuantity: number })[]
}

export interface Snapshot {
  date: string
  from: string
  to: string
  items: SnapshotItem[]
}

export type Rankings = ReturnType<typeof createRankings>

/** The popular domain: the live ranking, and the snapshots of midnights past. */
export function createRankings(deps: Deps & { products: Products }) {
  const { db, scripts, products, now } = deps
  const shards = Array.from({ length: deps.env.STOCK_SHARDS }, (_, shard) => shard)
  const recount = createRecount({ ...deps, shards: shards.length })
  let cached: { until: number; ranking: Promise<LiveRanking> } | undefined

  /** The best sold over today and the two days before it (PRD-6), at most a second old. @throws Unavailable */
  function live(): Promise<LiveRanking> {
    if (cached && now() < cached.until) return cached.ranking
    const ranking = readLive()
    const own = { until: now() + cacheMs, ranking }
    cached = own
    ranking.catch(() => {
      if (cached === own) cached = undefined
    })
    return ranking
  }

  async function readLive(): Promise<LiveRanking> {
    const dates = windowUpTo(seoulDate(now()))
    const best = rank((await Promise.all(shards.map((shard) => topOfShard(shard, dates)))).flat())
    const sold = new Map(best.map(({ productId, quantity }) => [productId, quantity]))
    // Redis may know a product that Postgres lacks, as after Postgres was restored from a backup.
    const found = await Promise.all(best.map(({ productId }) => products.find(productId)))
    const stocked = await products.withStock(found.filter((product) => product !== undefined))
    return {
      from: dates[0] as string,
      to: dates.at(-1) as string,
      items: stocked.map(({ id, name, price, stock }, index) => ({
        rank: index + 1,
        productId: id,
        name,
        price,
        stock,
        soldQuantity: sold.get(id) as number,
      })),
    }
  }

  /** The best sold of a shard; days that Redis has lost are counted first. */
  async function topOfShard(shard: number, dates: string[]) {
    const giveUpAt = performance.now() + patienceMs
    do {
      const top = await scripts.topSales(shard, dates.map(compact), places)
      if ('sales' in top) return top.sales
      await recount(shard, top.notCounted.map(dashed))
    } while (performance.now() < giveUpAt)
    throw new Unavailable('the sales are being counted')
  }

  /** The snapshot of a date, or of the newest one there is. */
  async function findSnapshotOf(date: string): Promise<Snapshot | Refusal<'SNAPSHOT_NOT_FOUND'>> {
    if (date < firstDate) return refuse('SNAPSHOT_NOT_FOUND')
    const of = date === 'latest' ? await findLatestDate(db) : date
    const items = of === undefined ? undefined : await findSnapshot(db, of)
    if (of === undefined || items === undefined) return refuse('SNAPSHOT_NOT_FOUND')
    return snapshotOf(of, items)
  }

  const snapshots = createSnapshots({ ...deps, topOfShard, shards })

  return {
    live,
    findSnapshot: findSnapshotOf,
    /** Runs the midnight job for one date up to today, and gives its snapshot; an old one is left as it is. */
    async takeSnapshot(date: string): Promise<Snapshot | Refusal<'VALIDATION_FAILED'>> {
      if (date < firstDate || date > seoulDate(now())) {
        return refuse('VALIDATION_FAILED', undefined, {
          errors: [{ path: 'date', message: `must be from ${firstDate} to today in Asia/Seoul` }],
        })
      }
      await snapshots.take(date)
      return snapshotOf(date, (await findSnapshot(db, date)) ?? [])
    },
    catchUp: snapshots.catchUp,
    /** Counts days of a shard anew from Postgres; see createRecount. */
    recount,
  }
}

function snapshotOf(date: string, items: SnapshotItem[]): Snapshot {
  const dates = windowUpTo(addDays(date, -1))
  return { date, from: dates[0] as string, to: dates.at(-1) as string, items }
}
