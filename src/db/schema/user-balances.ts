import { sql } from 'drizzle-orm'
import { bigint, check, integer, pgTable } from 'drizzle-orm/pg-core'

/** A balance reaches this never (BAL-4), won. */
export const balanceLimit = 10_000_000

/** Balances, won; there from the first charge. `version` is the optimistic lock (BAL-6). */
export const userBalances = pgTable(
  'user_balances',
  {
    userId: bigint('user_id', { mode: 'number' }).primaryKey(),
    balance: bigint({ mode: 'number' }).notNull(),
    version: integer().notNull(),
  },
  (table) => [
    check('user_balances_user', sql`${table.userId} > 0`),
    check(
      'user_balances_limits',
      sql`${table.balance} >= 0 and ${table.balance} < ${sql.raw(String(balanceLimit))}`,
    ),
  ],
)
