import { collectDefaultMetrics, Registry } from 'prom-client'
import type { BatchTiming, GroupCommitStats } from '../commit/group-commit.ts'
import { addCounter, addHistogram, addReadout } from './series.ts'
import { createStoreReadouts } from './store-readouts.ts'

/** Upper bounds of durations, s: from a refusal by Redis in under a millisecond to a passed deadline. */
const durations = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const
const batchSizes = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] as const
/** A client may send any method; only these get a label of their own. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

export type CommitKind = 'coupon' | 'charge' | 'order' | 'cancel'

/** What keeps something pending in Redis, and is reconciled with Postgres. */
export type KeptKind = 'coupon' | 'stock'

export type Metrics = ReturnType<typeof createMetrics>

/**
 * Makes the metrics of one instance of the service with its `roles`, and a registry of their own. Whoever has something
 * to tell calls these functions; names and labels are spelled here and in store-readouts.ts only.
 */
export function createMetrics(roles: readonly string[]) {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  roleMetrics(registry, roles)
  return {
    /** Everything in the text format of Prometheus. Never fails because a store is away. */
    scrape: () => registry.metrics(),
    /** The same as values, for a process that shows those of several. */
    snapshot: () => registry.getMetricsAsJSON(),
    contentType: registry.contentType,
    ...httpMetrics(registry),
    ...commitMetrics(registry),
    ...scriptMetrics(registry),
    ...transactionMetrics(registry),
    ...relayMetrics(registry),
    ...recoveryMetrics(registry),
    ...createStoreReadouts(registry),
  }
}

function httpMetrics(registry: Registry) {
  const requests = addCounter(registry, {
    name: 'seonchak_http_requests_total',
    help: 'Requests answered; code is the problem code, empty for success, route the template or unmatched',
    labels: ['method', 'route', 'status', 'code'],
  })
  const duration = addHistogram(
    registry,
    {
      name: 'seonchak_http_request_duration_seconds',
      help: 'Time from the first middleware to the answer',
      labels: ['method', 'route', 'status'],
    },
    durations,
  )
  const durationOf = remembered((method: string, route: string, status: number) =>
    duration({ method, route, status: String(status) }),
  )
  const answerOf = remembered((method: string, route: string, status: number, code: string) => ({
    count: requests({ method, route, status: String(status), code }),
    observe: durationOf(method, route, status),
  }))

  return {
    /** Counts an answer. `route` is a template, never a path that a client made up. */
    request(rawMethod: string, route: string, status: number, code: string, ms: number): void {
      const method = methods.has(rawMethod) ? rawMethod : 'OTHER'
      const answer = answerOf(method, route, status, code)
      answer.count()
      answer.observe(ms / 1000)
    },
  }
}

function commitMetrics(registry: Registry) {
  const labels = ['kind'] as const
  const add = (name: string, help: string, bounds: readonly number[]) =>
    addHistogram(registry, { name: `seonchak_commit_${name}`, help, labels }, bounds)
  const size = add('batch_size', 'Members of a group commit', batchSizes)
  const wait = add('wait_seconds', 'Longest time that a member of a batch waited for it', durations)
  const duration = add('duration_seconds', 'Transaction of a batch, with its retries', durations)

  const sources: { kind: CommitKind; stats(): Readonly<GroupCommitStats>; maxQueue: number }[] = []
  function read(
    type: 'gauge' | 'counter',
    name: string,
    help: string,
    of: (stats: Readonly<GroupCommitStats>, maxQueue: number) => number,
  ): void {
    addReadout(registry, type, { name: `seonchak_commit_${name}`, help, labels }, () => {
      const sums = new Map<CommitKind, number>()
      for (const { kind, stats, maxQueue } of sources) {
        sums.set(kind, (sums.get(kind) ?? 0) + of(stats(), maxQueue))
      }
      return [...sums].map(([kind, sum]) => [{ kind }, sum])
    })
  }
  read('gauge', 'queue_length', 'Members waiting for a batch', (stats) => stats.waiting)
  read('gauge', 'places_taken', 'Writes admitted, waiting or under way', (stats) => stats.taken)
  read('gauge', 'places', 'Writes that may be under way at once', (_stats, maxQueue) => maxQueue)
  read('gauge', 'batches_in_flight', 'Batches under way', (stats) => stats.inFlight)
  read('counter', 'retries_total', 'Batches tried again after a fault by chance', (stats) => stats.retries)
  read('counter', 'alone_total', 'Members tried alone for the fault of a neighbour', (stats) => stats.alone)
  read(
    'counter',
    'parted_total',
    'Batches parted into halves, as a fault by chance stayed',
    (stats) => stats.parted,
  )
  read('counter', 'refused_total', 'Writes turned away: full queue or draining', (stats) => stats.refused)

  return {
    /** Gives the function that observes the batches of a kind. */
    batches(kind: CommitKind): (timing: BatchTiming) => void {
      const [observeSize, observeWait, observeDuration] = [size({ kind }), wait({ kind }), duration({ kind })]
      return (timing) => {
        observeSize(timing.size)
        observeWait(timing.waitMs / 1000)
        observeDuration(timing.commitMs / 1000)
      }
    },
    /** Watches a group commit. */
    watchCommit(kind: CommitKind, stats: () => Readonly<GroupCommitStats>, maxQueue: number): void {
      sources.push({ kind, stats, maxQueue })
    },
  }
}

function scriptMetrics(registry: Registry) {
  const outcomes = addCounter(registry, {
    name: 'seonchak_redis_script_outcomes_total',
    help: 'Outcomes of Lua scripts; FAILED when Redis did not answer, or with an error',
    labels: ['script', 'outcome'],
  })
  const duration = addHistogram(
    registry,
    {
      name: 'seonchak_redis_script_duration_seconds',
      help: 'Time of a Lua script, there and back',
      labels: ['script'],
    },
    durations,
  )
  const durationOf = remembered((script: string) => duration({ script }))
  const runOf = remembered((script: string, outcome: string) => ({
    count: outcomes({ script, outcome }),
    observe: durationOf(script),
  }))
  return {
    /** Counts a run of a script. */
    script(script: string, outcome: string, ms: number): void {
      const run = runOf(script, outcome)
      run.count()
      run.observe(ms / 1000)
    },
  }
}

function roleMetrics(registry: Registry, roles: readonly string[]): void {
  addReadout(
    registry,
    'gauge',
    {
      name: 'seonchak_role',
      help: 'Roles of this process: a role that nobody has is absent',
      labels: ['role'],
    },
    () => roles.map((role): [{ role: string }, number] => [{ role }, 1]),
  )
}

type LaneStats = () => { waiting: number; busy: number }

function transactionMetrics(registry: Registry) {
  const wait = addHistogram(
    registry,
    {
      name: 'seonchak_postgres_lane_wait_seconds',
      help: 'Wait for a connection for a transaction',
      labels: [],
    },
    durations,
  )({})
  const duration = addHistogram(
    registry,
    {
      name: 'seonchak_postgres_transaction_duration_seconds',
      help: 'Transaction from BEGIN to its answer',
      labels: ['outcome'],
    },
    durations,
  )
  const [committed, failed] = [duration({ outcome: 'committed' }), duration({ outcome: 'failed' })]
  return {
    /** Observes a transaction that has ended. */
    transaction(timing: { waitMs: number; runMs: number; committed: boolean }): void {
      wait(timing.waitMs / 1000)
      const observe = timing.committed ? committed : failed
      observe(timing.runMs / 1000)
    },
    /** Watches the connections for transactions, and those for reads. */
    watchLanes(of: { transactions: LaneStats; reads: LaneStats }): void {
      const read = (name: string, help: string, look: () => number) =>
        addReadout(registry, 'gauge', { name: `seonchak_postgres_${name}`, help, labels: [] }, () => [
          [{}, look()],
        ])
      read('lanes_busy', 'Connections for transactions in use', () => of.transactions().busy)
      read('lane_waiters', 'Transactions waiting for a connection', () => of.transactions().waiting)
      read('reads_busy', 'Connections for reads in use', () => of.reads().busy)
      read('read_waiters', 'Reads waiting for a connection', () => of.reads().waiting)
    },
  }
}

interface RelayCounts {
  posts: number
  failedPosts: number
  delivered: number
}

function relayMetrics(registry: Registry) {
  let stats: () => RelayCounts | undefined = () => undefined
  const read = (name: string, help: string, of: (counts: RelayCounts) => number) =>
    addReadout(registry, 'counter', { name: `seonchak_outbox_${name}`, help, labels: [] }, () => {
      const counts = stats()
      return counts ? [[{}, of(counts)]] : []
    })
  read('posts_total', 'POSTs to the data platform', ({ posts }) => posts)
  read('failed_posts_total', 'POSTs to the data platform that failed', ({ failedPosts }) => failedPosts)
  read('delivered_events_total', 'Events that the data platform took', ({ delivered }) => delivered)
  return {
    /** Watches the relay of this process; `ask` gives undefined while there is none. */
    watchRelay(ask: () => RelayCounts | undefined): void {
      stats = ask
    },
  }
}

function recoveryMetrics(registry: Registry) {
  const labels = ['kind'] as const
  const drift = addCounter(registry, {
    name: 'seonchak_drift_found_total',
    help: 'Policies or products whose quantity in Redis differed from Postgres, and was loaded again',
    labels,
  })
  const settled = addCounter(registry, {
    name: 'seonchak_abandoned_settled_total',
    help: 'Pending entries of dead callers that recovery took up',
    labels,
  })
  return {
    /** Gives the functions that count what the recovery of a kind did. */
    recovery: (kind: KeptKind) => ({ drifted: drift({ kind }), settled: settled({ kind }) }),
  }
}

/**
 * Remembers what `make` made for a path of keys. They come from closed sets, which bounds the memory. Maps in maps, as
 * to put the keys together to one text costs more than all lookups.
 */
function remembered<Keys extends (string | number)[], Made>(
  make: (...keys: Keys) => Made,
): (...keys: Keys) => Made {
  const root = new Map<string | number, unknown>()
  return (...keys) => {
    let at = root
    for (let depth = 0; depth < keys.length - 1; depth++) {
      const key = keys[depth] as string | number
      let next = at.get(key) as typeof root | undefined
      if (next === undefined) {
        next = new Map()
        at.set(key, next)
      }
      at = next
    }
    const last = keys.at(-1) as string | number
    let found = at.get(last) as Made | undefined
    if (found === undefined) {
      found = make(...keys)
      at.set(last, found)
    }
    return found
  }
}
