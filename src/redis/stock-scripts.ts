import { gather } from './gather.ts'
import { keys } from './keys.ts'
import type { RunScript } from './scripts.ts'

/** Units of a product: a line of an order, a cancellation or a restock. */
export interface Line {
  productId: number
  quantity: number
}

export type Reservation =
  | { outcome: 'NOT_LOADED'; productIds: number[] }
  | { outcome: 'RESERVED' }
  | { outcome: 'INSUFFICIENT'; productId: number; available: number }

/** What is pending in a shard. */
export interface StockEntry {
  /** of the order, the cancellation or the restock */
  id: string
  kind: 'reserve' | 'cancel' | 'restock'
  /** the order reserved for or cancelled, empty for a restock */
  orderId: string
  lines: Line[]
}

/** What Postgres decided about an entry. */
export interface StockSettlement {
  id: string
  lines: Line[]
  /** Postgres has the effect; false: it never will */
  committed: boolean
  /** give the units to available; or drop the products, because Postgres found Redis wrong */
  units: 'give' | 'keep' | 'drop'
  /** count the lines as sold on `day` (yyyymmdd), or take them back */
  sold: { day: string; sign: 1 | -1 } | null
}

/** A day of sales is kept for as long as the ranking and the midnight snapshot may ask for it, ms. */
export const salesKeptMs = 8 * 86_400_000
/** Redis unpacks at most some thousand arguments in Lua. */
const productsPerInspection = 1000
/** Orders of one call of stock.reserve: with 50 lines each it takes Redis some ms. */
const ordersPerCall = 50

/** Lines as scripts take them: product id, quantity, … `linesOf` reads them. */
export const pairs = (lines: Line[]) => lines.flatMap((line) => [line.productId, line.quantity])
const unitsCode = { give: 1, keep: 0, drop: -1 } as const

/** The scripts of stock as typed functions; what each does stands in its file in lua/. */
export function stockScripts({ run, runEach }: RunScript) {
  const reserve = gather<number, { orderId: string; lines: Line[] }, Reservation>(
    ordersPerCall,
    async (shard, orders) => {
      const answers = await runEach(
        'stock.reserve',
        keys.stockAvailable(shard),
        keys.stockPending(shard),
        ...orders.map(({ orderId, lines }) => [orderId, ...pairs(lines)].join(' ')),
      )
      return answers.map(([outcome, rest]) => reservationOf(outcome, rest))
    },
  )

  return {
    /**
     * Takes the units of all lines, which lie in one shard, or of none. Orders that come in the same turn of the event
     * loop share a call.
     */
    reserveStock: (shard: number, orderId: string, lines: Line[]): Promise<Reservation> =>
      reserve(shard, { orderId, lines }),

    /** Leaves an entry for units that a cancellation or restock is about to bring. */
    async announceStock(shard: number, entry: StockEntry & { kind: 'cancel' | 'restock' }): Promise<void> {
      await run(
        'stock.announce',
        keys.stockPending(shard),
        keys.stockLoading(shard),
        entry.kind,
        entry.id,
        entry.orderId,
        ...pairs(entry.lines),
      )
    },

    /** Takes entries of one shard out of pending and applies what Postgres decided. */
    async settleStock(shard: number, settlements: StockSettlement[]): Promise<'SETTLED' | 'DROPPED'> {
      const days = [...new Set(settlements.flatMap(({ sold }) => (sold ? [sold.day] : [])))]
      const [outcome] = await run(
        'stock.settle',
        5 + days.length,
        keys.stockAvailable(shard),
        keys.stockPending(shard),
        keys.stockLoading(shard),
        keys.stockCounted(shard),
        keys.stockSalesLog(shard),
        ...days.map((day) => keys.stockSales(shard, day)),
        salesKeptMs,
        days.length,
        ...days,
        ...settlements.map(({ id, lines, committed, units, sold }) =>
          [
            id,
            committed ? 1 : 0,
            unitsCode[units],
            sold?.sign ?? 0,
            sold ? days.indexOf(sold.day) + 1 : 0,
            ...pairs(lines),
          ].join(' '),
        ),
      )
      return outcome
    },

    /** What can still be reserved of products of one shard (null: not loaded), and all pending entries. */
    async inspectStock(
      shard: number,
      productIds: number[],
    ): Promise<{ units: (number | null)[]; entries: StockEntry[] }> {
      const units: (number | null)[] = []
      let entries: StockEntry[] = []
      for (let from = 0; from < productIds.length; from += productsPerInspection) {
        const [, [found, pending]] = await run(
          'stock.inspect',
          keys.stockAvailable(shard),
          keys.stockPending(shard),
          ...productIds.slice(from, from + productsPerInspection),
        )
        units.push(...(found as string[]).map((text) => (text === '' ? null : Number(text))))
        entries = stockEntriesOf(pending as string[])
      }
      return { units, entries }
    },

    /** Makes products available, each under the token that was there before. Gives those to be worked out anew. */
    async loadStock(
      shard: number,
      products: { productId: number; token: string; units: number }[],
    ): Promise<number[]> {
      const [outcome, [late]] = await run(
        'stock.load',
        keys.stockAvailable(shard),
        keys.stockLoading(shard),
        ...products.flatMap(({ productId, token, units }) => [productId, token, units]),
      )
      return outcome === 'LOADED' ? [] : (late as number[])
    },
  }
}

/** Units as they are shown: see `availableUnits` for what is below zero. */
export const unitsOf = (text: string) => Math.max(0, Number(text))

function reservationOf(outcome: Reservation['outcome'], rest: string[]): Reservation {
  switch (outcome) {
    case 'NOT_LOADED':
      return { outcome, productIds: rest.map(Number) }
    case 'RESERVED':
      return { outcome }
    case 'INSUFFICIENT':
      return { outcome, productId: Number(rest[0]), available: unitsOf(rest[1] as string) }
  }
}

/** Reads pending entries from a flat list of id and entry, in the order of their ids. */
export function stockEntriesOf(flat: string[]): StockEntry[] {
  const entries: StockEntry[] = []
  for (let at = 0; at < flat.length; at += 2) {
    entries.push(stockEntryOf(flat[at] as string, flat[at + 1] as string))
  }
  return entries.sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** Reads a pending entry, whose text lua/stock.reserve.lua describes. */
export function stockEntryOf(id: string, text: string): StockEntry {
  const [, , , kind, , orderId, , ...pairs] = text.split(' ')
  return { id, kind: kind as StockEntry['kind'], orderId: orderId as string, lines: linesOf(pairs) }
}

/** Lines from a flat list of product id and quantity. */
export function linesOf(pairs: string[]): Line[] {
  const lines: Line[] = []
  for (let at = 0; at < pairs.length; at += 2) {
    lines.push({ productId: Number(pairs[at]), quantity: Number(pairs[at + 1]) })
  }
  return lines
}
