import { and, asc, eq, inArray, isNotNull, isNull, lte, type SQL, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { outboxEvents } from '../db/schema/index.ts'
import { eventsChannel } from './notifier.ts'

const replayedTogether = 1000

/** What has not reached the data platform yet. */
export interface Backlog {
  /** events that will be sent by themselves */
  pending: number
  /** events given up until they are replayed */
  parked: number
  /** when the first of the pending ones occurred; null when there are none */
  oldestAt: Date | null
  /** how long that is ago, ms; 0 when there are none */
  lagMs: number
}

export interface ParkedEvent {
  eventId: string
  type: 'order.paid' | 'order.canceled'
  orderId: string
  occurredAt: Date
  attempts: number
  parkedAt: Date
  /** why the last attempt failed */
  lastError: string | null
}

/**
 * Counts what is not delivered. It reads an index of just that: a few ms, unless the platform was away for long.
 * @param now wall clock, ms
 */
export async function readBacklog(db: Database, now: number): Promise<Backlog> {
  const { deliveredAt, parkedAt, occurredAt, position } = outboxEvents
  const [counts] = await db
    .select({
      pending: sql<number>`(count(*) filter (where ${parkedAt} is null))::int`,
      parked: sql<number>`count(${parkedAt})::int`,
    })
    .from(outboxEvents)
    .where(isNull(deliveredAt))
  const [oldest] = await db
    .select({ occurredAt })
    .from(outboxEvents)
    .where(and(isNull(deliveredAt), isNull(parkedAt)))
    .orderBy(asc(position))
    .limit(1)
  const oldestAt = oldest?.occurredAt ?? null
  return {
    pending: counts?.pending ?? 0,
    parked: counts?.parked ?? 0,
    oldestAt,
    lagMs: oldestAt === null ? 0 : Math.max(0, now - oldestAt.getTime()),
  }
}

const isParked = and(isNull(outboxEvents.deliveredAt), isNotNull(outboxEvents.parkedAt))

/** The parked events, in the order in which they were written, at most `limit`. */
export async function listParked(db: Database, limit: number): Promise<ParkedEvent[]> {
  const rows = await db
    .select({
      eventId: outboxEvents.eventId,
      type: outboxEvents.type,
      orderId: outboxEvents.orderId,
      occurredAt: outboxEvents.occurredAt,
      attempts: outboxEvents.attempts,
      parkedAt: outboxEvents.parkedAt,
      lastError: outboxEvents.lastError,
    })
    .from(outboxEvents)
    .where(isParked)
    .orderBy(asc(outboxEvents.position))
    .limit(limit)
  return rows.map((row) => ({ ...row, parkedAt: row.parkedAt as Date }))
}

/**
 * Has parked events sent anew, with all their attempts: those of an order, one, or all. Tells the relays.
 * @param now those parked later are left alone, ms
 * @returns how many were parked
 */
export async function replayParked(
  db: Database,
  which: { orderId: string } | { eventId: string } | 'all',
  now: number,
): Promise<number> {
  const chosen: SQL[] = [lte(outboxEvents.parkedAt, new Date(now))]
  if (which !== 'all') {
    chosen.push(
      'orderId' in which ? eq(outboxEvents.orderId, which.orderId) : eq(outboxEvents.eventId, which.eventId),
    )
  }
  let replayed = 0
  for (;;) {
    const some = db
      .select({ position: outboxEvents.position })
      .from(outboxEvents)
      .where(and(isParked, ...chosen))
      .orderBy(asc(outboxEvents.position))
      .limit(replayedTogether)
      .for('update')
    const rows = await db
      .update(outboxEvents)
      .set({ parkedAt: null, attempts: 0, dueAt: sql`'-infinity'` })
      .where(inArray(outboxEvents.position, some))
      .returning({ position: outboxEvents.position })
    replayed += rows.length
    if (rows.length < replayedTogether) break
  }
  if (replayed > 0) await db.execute(sql`select pg_notify(${eventsChannel}, '')`)
  return replayed
}
