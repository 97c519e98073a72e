import { sql } from 'drizzle-orm'
import { bigint, check, integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'

/** The lines of orders, with name and price as they were when the order was made; amounts in won. */
export const orderItems = pgTable(
  'order_items',
  {
    /** an order and a product that are there: see migration 0005 */
    orderId: uuid('order_id').notNull(),
    productId: bigint('product_id', { mode: 'number' }).notNull(),
    /** place in the request, from 0 */
    line: integer().notNull(),
    name: text().notNull(),
    quantity: integer().notNull(),
    unitPrice: bigint('unit_price', { mode: 'number' }).notNull(),
    amount: bigint({ mode: 'number' }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.orderId, table.productId] }),
    check('order_items_quantity', sql`${table.quantity} > 0`),
    check(
      'order_items_amount',
      sql`${table.unitPrice} > 0 and ${table.amount} = ${table.unitPrice} * ${table.quantity}`,
    ),
  ],
)

export type OrderItemRow = typeof orderItems.$inferSelect
