/** Beyond it the oldest go. */
const MAX_KEPT = 200_000

/** An event as it is posted. */
export type PostedEvent = {
  eventId: string
  type: string
  occurredAt: string
  order: { id: string; [member: string]: unknown }
}

export type ReceivedEvent = PostedEvent & {
  /** in the order of first arrivals, from 1 */
  sequence: number
  receivedAt: string
  /** how often it came */
  times: number
}

export type StoreStats = {
  /** events that came, repetitions included */
  received: number
  /** different event ids among them */
  distinct: number
  duplicates: number
  /** different events under one event id */
  conflicts: number
  /** events that first came after a later one of their order */
  orderViolations: number
  kept: number
}

export type EventStore = {
  add(events: PostedEvent[]): void
  /** Those with a sequence above `after`, in the order of first arrivals. */
  list(after: number, limit: number, orderId?: string): ReceivedEvent[]
  stats(): StoreStats
  clear(): void
}

/** What the platform remembers. Counts go on when the oldest events are forgotten. */
export function createEventStore(maxKept: number = MAX_KEPT): EventStore {
  const kept = new Map<string, ReceivedEvent>()
  const byOrder = new Map<string, ReceivedEvent[]>()
  const counts = { received: 0, distinct: 0, duplicates: 0, conflicts: 0, orderViolations: 0 }

  function addOne(posted: PostedEvent): void {
    counts.received++
    const before = kept.get(posted.eventId)
    if (before) {
      counts.duplicates++
      before.times++
      if (!isSame(before, posted)) counts.conflicts++
      return
    }
    const event = {
      ...posted,
      sequence: ++counts.distinct,
      receivedAt: new Date().toISOString(),
      times: 1,
    }
    kept.set(event.eventId, event)
    const ofOrder = byOrder.get(event.order.id) ?? []
    if (ofOrder.some((earlier) => isBefore(event, earlier))) counts.orderViolations++
    byOrder.set(event.order.id, [...ofOrder, event])
    if (kept.size > maxKept) forgetOldest()
  }

  function forgetOldest(): void {
    for (const oldest of kept.values()) {
      kept.delete(oldest.eventId)
      const rest = (byOrder.get(oldest.order.id) ?? []).filter((event) => event !== oldest)
      if (rest.length > 0) byOrder.set(oldest.order.id, rest)
      else byOrder.delete(oldest.order.id)
      return
    }
  }

  return {
    add: (events) => events.forEach(addOne),
    list(after, limit, orderId) {
      const found: ReceivedEvent[] = []
      for (const event of orderId === undefined ? kept.values() : (byOrder.get(orderId) ?? [])) {
        if (found.length >= limit) break
        if (event.sequence > after) found.push(event)
      }
      return found
    },
    stats: () => ({ ...counts, kept: kept.size }),
    clear() {
      kept.clear()
      byOrder.clear()
      Object.assign(counts, { received: 0, distinct: 0, duplicates: 0, conflicts: 0, orderViolations: 0 })
    },
  }
}

/** Whether `event` happened before `other` of the same order: an order is paid before it is cancelled. */
function isBefore(event: PostedEvent, other: PostedEvent): boolean {
  if (event.type !== other.type) return event.type === 'order.paid'
  return event.occurredAt < other.occurredAt
}

function isSame(one: PostedEvent, other: PostedEvent): boolean {
  const said = ({ type, occurredAt, order }: PostedEvent) => JSON.stringify([type, occurredAt, order])
  return said(one) === said(other)
}
