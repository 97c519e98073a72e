import { keys } from './keys.ts'
import type { RunScript } from './scripts.ts'
import { linesOf, pairs, type StockEntry, salesKeptMs, stockEntriesOf } from './stock-scripts.ts'

/** A product and how many of it were sold. */
export interface Sale {
  productId: number
  quantity: number
}

/** What was counted in a shard since a recount began, and what is pending. */
export interface SalesLook {
  /** `day` is yyyymmdd; quantities are below zero for a cancellation */
  counted: (StockEntry & { day: string })[]
  entries: StockEntry[]
}

/** The scripts of sales as typed functions; what each does stands in its file in lua/. */
export function salesScripts({ run }: RunScript) {
  return {
    /** Begins to count the sales of a shard anew; `token` stands for this count. */
    async beginSales(shard: number, token: string, ttlMs: number): Promise<void> {
      await run('sales.begin', keys.stockSalesLog(shard), token, ttlMs)
    },

    /** Looks at what was counted since, and at what is pending; null when the count was lost. */
    async lookAtSales(shard: number, token: string): Promise<SalesLook | null> {
      const [outcome, [counted, entries]] = await run(
        'sales.look',
        keys.stockSalesLog(shard),
        keys.stockPending(shard),
        token,
      )
      if (outcome === 'LOST') return null
      return {
        counted: (counted as string[]).map((text) => {
          const [kind, id, orderId, day, ...pairs] = text.split(' ')
          return { kind, id, orderId, day, lines: linesOf(pairs) } as StockEntry & { day: string }
        }),
        entries: stockEntriesOf(entries as string[]),
      }
    },

    /**
     * Puts the sales of a day in place, and ends the count with the last one; `looked` is how much of the log they
     * include. False when the count was lost.
     */
    async finishSales(
      shard: number,
      token: string,
      { day, looked, isLast, sales }: { day: string; looked: number; isLast: boolean; sales: Sale[] },
    ): Promise<boolean> {
      const [outcome] = await run(
        'sales.finish',
        keys.stockSalesLog(shard),
        keys.stockCounted(shard),
        keys.stockSales(shard, day),
        token,
        day,
        looked,
        salesKeptMs,
        isLast ? 1 : 0,
        // One argument: a call of many would overflow the stack, for a day with some ten thousand products.
        pairs(sales).join(' '),
      )
      return outcome === 'COUNTED'
    },

    /** The best sold of a shard over some days, or the days whose sales are not complete. */
    async topSales(
      shard: number,
      days: string[],
      limit: number,
    ): Promise<{ notCounted: string[] } | { sales: Sale[] }> {
      const [outcome, [list]] = await run(
        'sales.top',
        1 + days.length,
        keys.stockCounted(shard),
        ...days.map((day) => keys.stockSales(shard, day)),
        limit,
        ...days,
      )
      if (outcome === 'NOT_COUNTED') return { notCounted: list as string[] }
      const flat = list as number[]
      const sales: Sale[] = []
      for (let at = 0; at < flat.length; at += 2) {
        sales.push({ productId: flat[at] as number, quantity: flat[at + 1] as number })
      }
      return { sales }
    },
  }
}
