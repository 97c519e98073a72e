import { and, asc, eq, inArray, isNotNull, isNull, lte, type SQL, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { outboxEvents } from '../db/schema/index.ts'
import { eventsChannel } from './notifier.ts'

const replayedTogether = 1000

/** How many events have not reached the data platform yet. */
export interface Undelivered {
  /** events that will be sent by themselves */
  pending: number
  /** events given up until they are replayed */
  parked: number
}

/** How far the data platform lags behind. */
export interface Lag {
  /** when the first of the pending events occurred; null when there are none */
  oldestAt: Date | null
  /** how long that is ago, ms; 0 when there are none */
  lagMs: number
}

/** What has not reached the data platform yet. */
export type Backlog = Undelivered & Lag

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
 * Counts the events that are not delivered, of the oldest `most` of them. It reads each of those, so that all of a long
 * outage take seconds.
 */
export async function countUndelivered(db: Database, most = Number.MAX_SAFE_INTEGER): Promise<Undelivered> {
  const { deliveredAt, position } = outboxEvents
  const oldest = db
    .select({ parkedAt: outboxEvents.parkedAt })
    .from(outboxEvents)
    .where(isNull(deliveredAt))
    .orderBy(asc(position))
    .limit(most)
    .as('oldest')
  const [counts] = await db
    .select({
      pending: sql<number>`(count(*) filter (where ${oldest.parkedAt} is null))::int`,
      parked: sql<number>`count(${oldest.parkedAt})::int`,
    })
    .from(oldest)
  return { pending: counts?.pending ?? 0, parked: counts?.parked ?? 0 }
}

/**
 * Looks for the oldest event that is neither delivered nor parked: the first row of an index, however many wait.
 * @param now wall clock, ms
 */
export async function readLag(db: Database, now: number): Promise<Lag> {
  const { deliveredAt, parkedAt, occurredAt, position } = outboxEvents
  const [oldest] = await db
    .select({ occurredAt })
    .from(outboxEvents)
    .where(and(isNull(deliveredAt), isNull(parkedAt)))
    .orderBy(asc(position))
    .limit(1)
  const oldestAt = oldest?.occurredAt ?? null
  return { oldestAt, lagMs: oldestAt === null ? 0 : Math.max(0, now - oldestAt.getTime()) }
}

/** All of it, however long that takes. `now` is the wall clock, ms. */
export async function readBacklog(db: Database, now: number): Promise<Backlog> {
  return { ...(await countUndelivered(db)), ...(await readLag(db, now)) }
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
