import { sql } from 'drizzle-orm'
import {
  bigint,
  check,
  index,
  integer,
  json,
  pgTable,
  text,
  timestamp,
  unique,
  uuid,
} from 'drizzle-orm/pg-core'

/** Events for the data platform, written in the transaction of what they tell (ORD-7). */
export const outboxEvents = pgTable(
  'outbox_events',
  {
    /** the order in which events were written */
    position: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    /** stable, so that the receiver can tell a repetition */
    eventId: uuid('event_id').notNull(),
    type: text({ enum: ['order.paid', 'order.canceled'] }).notNull(),
    /** an order that is there: see migration 0005 */
    orderId: uuid('order_id').notNull(),
    occurredAt: timestamp('occurred_at', { withTimezone: true, precision: 3 }).notNull(),
    /** the whole order */
    payload: json().notNull(),
    /** times that it was sent, or is being sent */
    attempts: integer().notNull().default(0),
    /** not to be sent before: the end of a relay's claim, or of a pause after a failure */
    dueAt: timestamp('due_at', { withTimezone: true, precision: 3 }).notNull().default(sql`'-infinity'`),
    deliveredAt: timestamp('delivered_at', { withTimezone: true, precision: 3 }),
    /** given up after too many attempts, until it is replayed */
    parkedAt: timestamp('parked_at', { withTimezone: true, precision: 3 }),
    lastError: text('last_error'),
  },
  (table) => [
    index('outbox_events_undelivered').on(table.position).where(sql`${table.deliveredAt} is null`),
    index('outbox_events_delivered').on(table.deliveredAt).where(sql`${table.deliveredAt} is not null`),
    unique('outbox_events_event_id').on(table.eventId),
    unique('outbox_events_once').on(table.orderId, table.type),
    check('outbox_events_type', sql`${table.type} in ('order.paid', 'order.canceled')`),
  ],
)
