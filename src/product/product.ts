/** A product as Postgres holds it, without its stock: none of this changes once created. */
export interface Product {
  id: number
  name: string
  /** won */
  price: number
}

/** A product with what a buyer could still reserve now (PRD-2). */
export interface StockedProduct extends Product {
  stock: number
}

/** The shard of Redis that a product lives in, from 0. */
export function shardOf(productId: number, shards: number): number {
  return productId % shards
}

/** Groups lines or products by shard, shards ascending. */
export function byShard<Item>(
  items: Item[],
  productIdOf: (item: Item) => number,
  shards: number,
): [number, Item[]][] {
  const groups = Map.groupBy(items, (item) => shardOf(productIdOf(item), shards))
  return [...groups].sort(([a], [b]) => a - b)
}

const day = new Intl.DateTimeFormat('en-CA', {
  timeZone: 'Asia/Seoul',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
})

const hourMs = 3_600_000
let lastHour = { hour: Number.NaN, day: '' }

/**
 * The day in Asia/Seoul as yyyymmdd. Korea has kept UTC+9 without daylight saving since 1988. Days begin with an hour, so
 * the one of the hour asked for last is kept: to format a date costs more than all else that is done with an order here.
 */
export function seoulDay(at: Date): string {
  const hour = Math.floor(at.getTime() / hourMs)
  if (lastHour.hour !== hour) lastHour = { hour, day: day.format(at).replaceAll('-', '') }
  return lastHour.day
}
