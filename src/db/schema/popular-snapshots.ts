import { sql } from 'drizzle-orm'
import { bigint, check, date, integer, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core'
import { products } from './products.ts'

/** A snapshot taken for the midnight (Asia/Seoul) at which `date` begins, over the three days before (PRD-7). */
export const popularSnapshots = pgTable('popular_snapshots', {
  date: date().primaryKey(),
  takenAt: timestamp('taken_at', { withTimezone: true, precision: 3 }).notNull(),
})

/** The products of a snapshot, at most five; none where nothing was sold. Name and price as they were then, won. */
export const popularProductSnapshots = pgTable(
  'popular_product_snapshots',
  {
    date: date()
      .notNull()
      .references(() => popularSnapshots.date),
    rank: integer().notNull(),
    productId: bigint('product_id', { mode: 'number' })
      .notNull()
      .references(() => products.id),
    name: text().notNull(),
    price: bigint({ mode: 'number' }).notNull(),
    soldQuantity: integer('sold_quantity').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.date, table.rank] }),
    check('popular_product_snapshots_rank', sql`${table.rank} between 1 and 5`),
    check('popular_product_snapshots_sold', sql`${table.soldQuantity} > 0`),
  ],
)
