import { sql } from 'drizzle-orm'
import { outboxEvents } from '../db/schema/index.ts'
import { statement } from '../db/statement.ts'

/** An event that a relay has claimed. */
export interface ClaimedEvent {
  position: number
  eventId: string
  type: 'order.paid' | 'order.canceled'
  occurredAt: Date
  /** with this one */
  attempts: number
  /** the order, as JSON text */
  payload: string
}

/**
 * What an event waits for: not delivered, not parked, due, and no earlier event of its order that is not delivered
 * (ORD-7).
 *
 * The last is an aggregate over the one or two events of the order, with nothing but the order in its WHERE. As NOT
 * EXISTS over what is asked here, statistics from before a backlog had Postgres look through the whole backlog once an
 * event: a claim among 100,000 took 10 s and more, this takes 2 to 15 ms with any statistics.
 */
const eligible = sql`e.delivered_at is null and e.parked_at is null
      and e.due_at <= ${sql.placeholder('now')}::text::timestamptz
      and (select bool_or(other.position < e.position and other.delivered_at is null)
        from ${outboxEvents} other where other.order_id = e.order_id) is not true`

/**
 * Claims events in the order of their positions: a lease until `lease`, with an attempt counted, so that nobody else
 * sends them meanwhile and they come back by themselves if this process dies. Other relays skip what is locked here.
 *
 * Among events that failed together one may be at fault for all. So the more often an event has failed, the fewer it is
 * claimed with (a quarter each time), and on its last attempt (`lastTried` before it) it is alone: what gets parked was
 * refused for itself. Only events `behind` a position are claimed; 0 is before all.
 */
export const claimEvents = statement<
  { now: string; lease: string; behind: number; limit: number; lastTried: number },
  ClaimedEvent
>(sql`
  with candidate as materialized (
    select e.position, e.attempts
    from ${outboxEvents} e
    where ${eligible} and e.position > ${sql.placeholder('behind')}::bigint
    order by e.position
    limit ${sql.placeholder('limit')}::int
    for update of e skip locked
  ), ranked as (
    select position, row_number() over by_position as place, max(attempts) over by_position as tried
    from candidate window by_position as (order by position)
  )
  update ${outboxEvents} e
  set attempts = e.attempts + 1, due_at = ${sql.placeholder('lease')}::text::timestamptz
  from ranked
  where e.position = ranked.position
    and ranked.place <= case when ranked.tried >= ${sql.placeholder('lastTried')}::int then 1
      else greatest(1, ${sql.placeholder('limit')}::int >> (2 * least(ranked.tried, 15))) end
  returning e.position as "position", e.event_id as "eventId", e.type as "type", e.occurred_at as "occurredAt",
    e.attempts as "attempts", e.payload::text as "payload"`)

/** Whatever happened to the claim meanwhile: the platform has the events. */
export const markDelivered = statement<{ positions: string; at: string }, never>(sql`
  update ${outboxEvents}
  set delivered_at = ${sql.placeholder('at')}::text::timestamptz, parked_at = null, last_error = null
  where position = any(${sql.placeholder('positions')}::text::bigint[]) and delivered_at is null`)

/**
 * Ends a claim without delivery, if it still is the one that ends at `lease`: notes the error, takes `uncounted`
 * attempts back, lets the event rest until `due`, and parks it after `maxAttempts`.
 */
export const markFailed = statement<
  {
    positions: string
    lease: string
    error: string
    uncounted: number
    due: string
    maxAttempts: number
    at: string
  },
  { eventId: string; isParked: boolean }
>(sql`
  update ${outboxEvents} e
  set last_error = ${sql.placeholder('error')}::text,
    attempts = e.attempts - ${sql.placeholder('uncounted')}::int,
    due_at = ${sql.placeholder('due')}::text::timestamptz,
    parked_at = case when e.attempts - ${sql.placeholder('uncounted')}::int >= ${sql.placeholder('maxAttempts')}::int
      then ${sql.placeholder('at')}::text::timestamptz end
  where e.position = any(${sql.placeholder('positions')}::text::bigint[]) and e.delivered_at is null
    and e.due_at = ${sql.placeholder('lease')}::text::timestamptz
  returning e.event_id as "eventId", e.parked_at is not null as "isParked"`)

/** Gives a claim back as if it had never been. */
export const releaseClaim = statement<{ positions: string; lease: string }, never>(sql`
  update ${outboxEvents} e
  set attempts = e.attempts - 1, due_at = '-infinity'
  where e.position = any(${sql.placeholder('positions')}::text::bigint[]) and e.delivered_at is null
    and e.due_at = ${sql.placeholder('lease')}::text::timestamptz`)

/** Deletes what was delivered before `before`, at most `limit` rows. */
export const pruneDelivered = statement<{ before: string; limit: number }, { position: number }>(sql`
  delete from ${outboxEvents}
  where position in (
    select e.position from ${outboxEvents} e
    where e.delivered_at < ${sql.placeholder('before')}::text::timestamptz
    order by e.delivered_at
    limit ${sql.placeholder('limit')}::int
    for update skip locked
  )
  returning position as "position"`)
