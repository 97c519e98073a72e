import { bigint, index, integer, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core'

/**
 * What a write with an Idempotency-Key did, written in the transaction of its effect (ALL-2). A call without an effect
 * leaves no row.
 */
export const idempotencyKeys = pgTable(
  'idempotency_keys',
  {
    userId: bigint('user_id', { mode: 'number' }).notNull(),
    /** method and path, in lower case */
    route: text().notNull(),
    key: text().notNull(),
    /** SHA-256 of the body */
    fingerprint: text().notNull(),
    status: integer().notNull(),
    /** the answer as it was sent, JSON */
    answer: text().notNull(),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.route, table.key] }),
    index('idempotency_keys_age').on(table.createdAt),
  ],
)
