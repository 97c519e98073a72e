import { and, asc, desc, eq, gte, lt, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import {
  orderItems,
  orders,
  popularProductSnapshots,
  popularSnapshots,
  products,
} from '../db/schema/index.ts'
import type { Sale } from '../redis/sales-scripts.ts'

export interface SnapshotItem {
  rank: number
  productId: number
  name: string
  price: number
  soldQuantity: number
}

/** What was sold from `fromMs` until before `untilMs`, by product: the live orders paid then. */
export async function readSales(
  db: Pick<Database, 'select'>,
  fromMs: number,
  untilMs: number,
): Promise<Sale[]> {
  return db
    .select({
      productId: orderItems.productId,
      quantity: sql<number>`sum(${orderItems.quantity})`.mapWith(Number),
    })
    .from(orders)
    .innerJoin(orderItems, eq(orderItems.orderId, orders.id))
    .where(
      and(
        eq(orders.status, 'PAID'),
        gte(orders.createdAt, new Date(fromMs)),
        lt(orders.createdAt, new Date(untilMs)),
      ),
    )
    .groupBy(orderItems.productId)
}

/** Orders by id, as far as Postgres has them. */
export async function readOrderStates(db: Pick<Database, 'select'>, orderIds: string[]) {
  if (orderIds.length === 0) return []
  return db
    .select({
      id: orders.id,
      status: orders.status,
      cancellationId: orders.cancellationId,
      createdAt: orders.createdAt,
    })
    .from(orders)
    .where(sql`${orders.id} = any(${`{${orderIds.join()}}`}::text::uuid[])`)
}

/**
 * Writes the snapshot of a date, with the names and prices of now. False, and nothing changed, when there is one.
 */
export async function insertSnapshot(
  db: Database,
  date: string,
  ranking: Sale[],
  takenAt: Date,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const inserted = await tx
      .insert(popularSnapshots)
      .values({ date, takenAt })
      .onConflictDoNothing()
      .returning({ date: popularSnapshots.date })
    if (inserted.length === 0) return false
    for (const [index, { productId, quantity }] of ranking.entries()) {
      await tx.insert(popularProductSnapshots).select(
        tx
          .select({
            date: sql<string>`${date}::date`.as('date'),
            rank: sql<number>`${index + 1}::int`.as('rank'),
            productId: products.id,
            name: products.name,
            price: products.price,
            soldQuantity: sql<number>`${quantity}::int`.as('sold_quantity'),
          })
          .from(products)
          .where(eq(products.id, productId)),
      )
    }
    return true
  })
}

/** The snapshot of a date, or undefined when there is none. */
export async function findSnapshot(db: Database, date: string): Promise<SnapshotItem[] | undefined> {
  const [header] = await db.select().from(popularSnapshots).where(eq(popularSnapshots.date, date))
  if (!header) return undefined
  return db
    .select({
      rank: popularProductSnapshots.rank,
      productId: popularProductSnapshots.productId,
      name: popularProductSnapshots.name,
      price: popularProductSnapshots.price,
      soldQuantity: popularProductSnapshots.soldQuantity,
    })
    .from(popularProductSnapshots)
    .where(eq(popularProductSnapshots.date, date))
    .orderBy(asc(popularProductSnapshots.rank))
}

/** The date of the newest snapshot, or undefined when there is none. */
export async function findLatestDate(db: Database): Promise<string | undefined> {
  const [row] = await db
    .select({ date: popularSnapshots.date })
    .from(popularSnapshots)
    .orderBy(desc(popularSnapshots.date))
    .limit(1)
  return row?.date
}

/**
 * The midnights without a snapshot, oldest first: from the day after the first order that was paid, or after the newest
 * snapshot where that is earlier, to `today`, and no further back than `maxDays`.
 */
export async function findMissingDates(db: Database, today: string, maxDays: number): Promise<string[]> {
  // The first order among those that are paid, as an index tells it; a day without those has nothing to rank.
  const rows = await db.execute<{ date: string }>(sql`
    with since as (
      select greatest(${today}::date - ${maxDays - 1}::int, least(
        ${today}::date,
        (select max(${popularSnapshots.date}) + 1 from ${popularSnapshots}),
        (select (min(${orders.createdAt}) at time zone 'Asia/Seoul')::date + 1 from ${orders}
          where ${orders.status} = 'PAID'))) as date
    ), midnight as (
      select since.date + days as date from since, generate_series(0, ${today}::date - since.date) as days
    )
    select to_char(midnight.date, 'YYYY-MM-DD') as date
    from midnight left join ${popularSnapshots} on ${popularSnapshots.date} = midnight.date
    where ${popularSnapshots.date} is null
    order by midnight.date`)
  return rows.map(({ date }) => date)
}
