import { sql } from 'drizzle-orm'
import { bigint, check, index, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core'

/** One entry a charge, use or refund; those of a user add up to the balance (BAL-5). Amounts are positive, won. */
export const balanceEntries = pgTable(
  'balance_entries',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    /** a user with a balance: see migration 0005 */
    userId: bigint('user_id', { mode: 'number' }).notNull(),
    type: text({ enum: ['CHARGE', 'USE', 'REFUND'] }).notNull(),
    amount: bigint({ mode: 'number' }).notNull(),
    balanceAfter: bigint('balance_after', { mode: 'number' }).notNull(),
    orderId: uuid('order_id'),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [
    index('balance_entries_user_newest').on(table.userId, table.id.desc().nullsFirst()),
    check('balance_entries_type', sql`${table.type} in ('CHARGE', 'USE', 'REFUND')`),
    check('balance_entries_amount', sql`${table.amount} > 0`),
    check('balance_entries_after', sql`${table.balanceAfter} >= 0`),
    check('balance_entries_order', sql`(${table.type} = 'CHARGE') = (${table.orderId} is null)`),
  ],
)
