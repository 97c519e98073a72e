import { sql } from 'drizzle-orm'
import { boolean, check, pgTable, text, timestamp } from 'drizzle-orm/pg-core'

/**
 * The Redis that Postgres last saw, as the run ids of its nodes: one row at most. Another run id means that Redis was
 * restarted or replaced and may hold an older copy of its data (ALL-4).
 */
export const redisRuns = pgTable(
  'redis_runs',
  {
    onlyRow: boolean('only_row').primaryKey().default(true),
    runIds: text('run_ids').notNull(),
    seenAt: timestamp('seen_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [check('redis_runs_only_row', sql`${table.onlyRow}`)],
)
