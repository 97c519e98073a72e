import { sql } from 'drizzle-orm'
import { bigint, check, integer, pgTable, text, timestamp } from 'drizzle-orm/pg-core'

/**
 * Products; price in won. `stock` is guarded by the row lock (PRD-5) and by its CHECK (PRD-4), and always equals
 * `initial_stock` plus what was restocked less what live orders hold.
 */
export const products = pgTable(
  'products',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    name: text().notNull(),
    price: bigint({ mode: 'number' }).notNull(),
    stock: integer().notNull(),
    initialStock: integer('initial_stock').notNull(),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [
    check('products_price', sql`${table.price} > 0`),
    check('products_stock', sql`${table.stock} >= 0`),
    check('products_initial_stock', sql`${table.initialStock} >= 0`),
  ],
)

export type ProductRow = typeof products.$inferSelect
