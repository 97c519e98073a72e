import { sql } from 'drizzle-orm'
import { bigint, check, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core'
import { orders } from './orders.ts'

export const paymentStatuses = ['COMPLETED', 'FAILED', 'CANCELED'] as const
export type PaymentStatus = (typeof paymentStatuses)[number]

/** One payment an order, from the balance (ORD-3); amounts in won. */
export const payments = pgTable(
  'payments',
  {
    /** for people to refer to: nothing looks for it */
    id: uuid().notNull(),
    orderId: uuid('order_id')
      .primaryKey()
      .references(() => orders.id),
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
