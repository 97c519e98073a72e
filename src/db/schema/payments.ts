import { sql } from 'drizzle-orm'
import { bigint, check, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core'

export const paymentStatuses = ['COMPLETED', 'FAILED', 'CANCELED'] as const
export type PaymentStatus = (typeof paymentStatuses)[number]

/** One payment an order, from the balance (ORD-3); amounts in won. */
export const payments = pgTable(
  'payments',
  {
    /** for people to refer to: nothing looks for it */
    id: uuid().notNull(),
    /** an order that is there: see migration 0005 */
    orderId: uuid('order_id').primaryKey(),
    type: text({ enum: ['BALANCE'] })
      .notNull()
      .default('BALANCE'),
    status: text({ enum: paymentStatuses }).notNull(),
    amount: bigint({ mode: 'number' }).notNull(),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [
    check('payments_type', sql`${table.type} = 'BALANCE'`),
    check('payments_status', sql`${table.status} in ('COMPLETED', 'FAILED', 'CANCELED')`),
    check('payments_amount', sql`${table.amount} > 0`),
  ],
)

export type PaymentRow = typeof payments.$inferSelect
