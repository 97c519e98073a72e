import type { Registry } from 'prom-client'
import type { KeptKind } from './metrics.ts'
import { addReadout } from './series.ts'

/** How long a scrape waits for a store, ms: well below the usual deadline of a scrape, 10 s. */
const deadlineMs = 1000

/** What is pending of a kind. */
export interface PendingEntries {
  entries: number
  /** age of the oldest, ms; 0 when there are none */
  oldestMs: number
}

/** What the outbox is asked for: its lag apart from the counts, which take long in an outage, when it matters most. */
export interface OutboxToWatch {
  /** since the oldest of the pending events occurred, ms; 0 when there are none */
  lag(): Promise<{ lagMs: number }>
  /** how many events wait */
  undelivered(): Promise<{ pending: number; parked: number }>
}
type FoundOf<Ask extends keyof OutboxToWatch> = Awaited<ReturnType<OutboxToWatch[Ask]>>

/**
 * Metrics that the stores are asked for at a scrape. Each question is asked once at a time, however many scrapes wait
 * for it, and none waits longer than its deadline: a value that is not there in time is absent.
 */
export function createStoreReadouts(registry: Registry) {
  const stores = new Map<string, () => Promise<number | undefined>>()
  const pending = new Map<KeptKind, () => Promise<PendingEntries | undefined>>()
  const outboxLag = new Map<'outbox', () => Promise<FoundOf<'lag'> | undefined>>()
  const undelivered = new Map<'outbox', () => Promise<FoundOf<'undelivered'> | undefined>>()

  const askStores = () => Promise.all([...stores].map(async ([store, ask]) => ({ store, ms: await ask() })))
  addReadout(
    registry,
    'gauge',
    { name: 'seonchak_up', help: 'Whether a store answered this scrape', labels: ['store'] },
    async () =>
      (await askStores()).map(({ store, ms }): [{ store: string }, number] => [
        { store },
        ms === undefined ? 0 : 1,
      ]),
  )
  addReadout(
    registry,
    'gauge',
    {
      name: 'seonchak_store_latency_seconds',
      help: 'Time that a store took to answer this scrape, for Postgres with the wait for a connection of the pool',
      labels: ['store'],
    },
    async () =>
      (await askStores()).flatMap(({ store, ms }): [{ store: string }, number][] =>
        ms === undefined ? [] : [[{ store }, ms / 1000]],
      ),
  )

  function read<Kind extends string, Found>(
    from: Map<Kind, () => Promise<Found | undefined>>,
    metric: { name: string; help: string; labels: readonly 'kind'[] },
    of: (found: Found) => number,
  ): void {
    addReadout(registry, 'gauge', metric, async () => {
      const all = await Promise.all([...from].map(async ([kind, ask]) => ({ kind, found: await ask() })))
      return all.flatMap(({ kind, found }): [{ kind: string }, number][] =>
        // A metric without labels must not get one.
        found === undefined
          ? []
          : [[(metric.labels.length > 0 ? { kind } : {}) as { kind: string }, of(found)]],
      )
    })
  }
  const kind = ['kind'] as const
  read(
    pending,
    { name: 'seonchak_pending_entries', help: 'Grants and reservations not settled yet', labels: kind },
    ({ entries }) => entries,
  )
  read(
    pending,
    {
      name: 'seonchak_pending_oldest_age_seconds',
      help: 'Age of the oldest grant or reservation not settled yet, 0 when there is none',
      labels: kind,
    },
    ({ oldestMs }) => oldestMs / 1000,
  )
  read(
    undelivered,
    {
      name: 'seonchak_outbox_pending_events',
      help: 'Events to be delivered; at most 100,000 undelivered ones are counted, the oldest',
      labels: [],
    },
    ({ pending }) => pending,
  )
  read(
    undelivered,
    {
      name: 'seonchak_outbox_parked_events',
      help: 'Events given up until they are replayed; at most 100,000 undelivered ones are counted, the oldest',
      labels: [],
    },
    ({ parked }) => parked,
  )
  read(
    outboxLag,
    {
      name: 'seonchak_outbox_lag_seconds',
      help: 'Time since the oldest event to be delivered occurred, 0 when there is none',
      labels: [],
    },
    ({ lagMs }) => lagMs / 1000,
  )

  return {
    /** Watches whether a store answers, and how fast. */
    watchStore(store: 'redis' | 'postgres', ask: () => Promise<unknown>): void {
      stores.set(
        store,
        inTime(async () => {
          const askedAt = performance.now()
          await ask()
          return performance.now() - askedAt
        }),
      )
    },
    /** Watches what is pending of a kind. */
    watchPending(kind: KeptKind, look: () => Promise<PendingEntries>): void {
      pending.set(kind, inTime(look))
    },
    /** Watches the outbox. */
    watchOutbox(outbox: OutboxToWatch): void {
      outboxLag.set('outbox', inTime(outbox.lag))
      undelivered.set('outbox', inTime(outbox.undelivered))
    },
  }
}

/** Asks once at a time; undefined where the answer is a failure, or not there in time. */
function inTime<Found>(ask: () => Promise<Found>): () => Promise<Found | undefined> {
  let underWay: Promise<Found | undefined> | undefined
  return async () => {
    underWay ??= ask()
      .catch(() => undefined)
      .finally(() => {
        underWay = undefined
      })
    const { promise: late, resolve } = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => resolve(undefined), deadlineMs)
    try {
      return await Promise.race([underWay, late])
    } finally {
      clearTimeout(timer)
    }
  }
}
