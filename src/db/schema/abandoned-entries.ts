import { index, pgTable, timestamp, uuid } from 'drizzle-orm/pg-core'

/**
 * Fences: entries of pending that recovery has given up, by the id of their order, restock or cancellation. Written
 * behind the locks of the products concerned, so that the process they came from, if it was only slow, finds its fence
 * and does not commit what was already given back.
 */
export const abandonedEntries = pgTable(
  'abandoned_entries',
  {
    id: uuid().primaryKey(),
    abandonedAt: timestamp('abandoned_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [index('abandoned_entries_age').on(table.abandonedAt)],
)
