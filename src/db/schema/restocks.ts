import { sql } from 'drizzle-orm'
import { bigint, check, index, integer, pgTable, timestamp, uuid } from 'drizzle-orm/pg-core'
import { products } from './products.ts'

/** What was added to the stock of products. The id is that of the entry in pending, so a restock counts once. */
export const restocks = pgTable(
  'restocks',
  {
    id: uuid().primaryKey(),
    productId: bigint('product_id', { mode: 'number' })
      .notNull()
      .references(() => products.id),
    quantity: integer().notNull(),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [
    index('restocks_product').on(table.productId),
    check('restocks_quantity', sql`${table.quantity} > 0`),
  ],
)
