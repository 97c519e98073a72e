import { sql } from 'drizzle-orm'
import { bigint, check, index, pgTable, text, timestamp, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { coupons } from './coupons.ts'

export const orderStatuses = ['PAID', 'FAILED', 'CANCELED'] as const
export type OrderStatus = (typeof orderStatuses)[number]

/** Orders; amounts in won. A FAILED one was refused for lack of balance and holds neither stock nor coupon (ORD-5). */
export const orders = pgTable(
  'orders',
  {
    id: uuid().primaryKey(),
    userId: bigint('user_id', { mode: 'number' }).notNull(),
    status: text({ enum: orderStatuses }).notNull(),
    totalAmount: bigint('total_amount', { mode: 'number' }).notNull(),
    discountAmount: bigint('discount_amount', { mode: 'number' }).notNull(),
    finalAmount: bigint('final_amount', { mode: 'number' }).notNull(),
    couponId: uuid('coupon_id').references(() => coupons.id),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
    canceledAt: timestamp('canceled_at', { withTimezone: true, precision: 3 }),
    /** the entry in pending of the cancellation that took effect */
    cancellationId: uuid('cancellation_id'),
  },
  (table) => [
    index('orders_user_newest').on(
      table.userId,
      table.createdAt.desc().nullsFirst(),
      table.id.desc().nullsFirst(),
    ),
    // The sales of a day are counted from here when Redis has lost them.
    index('orders_paid_by_day').on(table.createdAt).where(sql`${table.status} = 'PAID'`),
    uniqueIndex('orders_one_live_per_coupon')
      .on(table.couponId)
      .where(sql`${table.status} = 'PAID' and ${table.couponId} is not null`),
    check('orders_user', sql`${table.userId} > 0`),
    check('orders_status', sql`${table.status} in ('PAID', 'FAILED', 'CANCELED')`),
    check('orders_total', sql`${table.totalAmount} > 0`),
    check('orders_discount', sql`${table.discountAmount} >= 0`),
    check(
      'orders_final',
      sql`${table.finalAmount} > 0 and ${table.finalAmount} = ${table.totalAmount} - ${table.discountAmount}`,
    ),
    check(
      'orders_cancellation',
      sql`(${table.status} = 'CANCELED') = (${table.canceledAt} is not null) and (${table.status} = 'CANCELED') = (${table.cancellationId} is not null)`,
    ),
  ],
)

export type OrderRow = typeof orders.$inferSelect
