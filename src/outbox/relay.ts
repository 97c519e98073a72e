import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { bigints } from '../db/statement.ts'
import type { Transactions } from '../db/transactions.ts'
import { createBreaker, type Pass } from './breaker.ts'
import {
  type ClaimedEvent,
  claimEvents,
  markDelivered,
  markFailed,
  pruneDelivered,
  releaseClaim,
} from './outbox.sql.ts'
import type { Platform } from './platform.ts'
import { createSignal } from './signal.ts'

/** Posts under way at once: one that hangs does not hold up the rest. */
const maxPosts = 4
/** Claims start this far apart, unless more is waiting: under a stream of orders it makes batches of single events. */
const claimGapMs = 20
/** Posts that fail in a row before the breaker opens. */
const breakerThreshold = 3
const breakerOpenMs = { first: 500, most: 30_000 }
const retryMs = { first: 200, most: 30_000 }
/** Pause after Postgres could not be asked, at most. */
const databaseAwayMs = 1000
/** Time for a post under way to end when the relay stops, ms. */
const stopGraceMs = 2000
const pruneEveryMs = 60_000
const pruneRows = 1000
const pruneRounds = 100

export interface RelaySettings {
  transactions: Transactions
  platform: Platform
  batch: number
  maxAttempts: number
  pollMs: number
  /** how long a claim holds: longer than claim, post and mark can take together, ms */
  leaseMs: number
  /** how long a delivered event is kept, ms */
  keepMs: number
  /** wall clock, ms */
  now(): number
  /** monotonic clock, ms */
  elapsed(): number
  random(): number
  log: Logger
}

/** What this relay has done since it started, and its state now. */
export interface RelayStats {
  breaker: 'closed' | 'open' | 'half-open'
  /** posts under way */
  posting: number
  posts: number
  failedPosts: number
  /** events acknowledged, and deliveries that failed: an event counts again at each try */
  delivered: number
  failed: number
  parked: number
  /** delivered events deleted for their age */
  pruned: number
}

export interface Relay {
  /** Says that there may be something to send. */
  wake(): void
  stats(): RelayStats
  /** Claims no more and ends what is under way: a post gets 2 s, then it is given up and its events stay undelivered. */
  stop(): Promise<void>
}

/**
 * Starts a relay: it claims events that wait, posts them and marks them delivered, until it is stopped. Any number of
 * relays can run; nothing is kept in memory that is not in Postgres as well. A process that dies after the platform has
 * taken a batch, and before it is marked, leaves it to be sent again: at least once, with the same event ids.
 */
export function startRelay(settings: RelaySettings): Relay {
  const { transactions, platform, batch, maxAttempts, now, elapsed, random, log } = settings
  const counts = { posts: 0, failedPosts: 0, delivered: 0, failed: 0, parked: 0, pruned: 0 }
  const signal = createSignal()
  const stopping = new AbortController()
  const cut = new AbortController()
  const underWay = new Set<Promise<void>>()
  /** the last position of the last post that found the platform away */
  let awayAt = 0

  const breaker = createBreaker({
    threshold: breakerThreshold,
    // Half of it by chance, so that relays do not probe at the same moment.
    openMs: (times) => exponential(breakerOpenMs, times) * (0.5 + random() / 2),
    now: elapsed,
    onOpen(ms) {
      log.warn({ ms: Math.round(ms) }, 'data platform is away: nothing is sent for a while')
      wakeIn(ms)
    },
    onClose: () => log.info('data platform is back'),
  })

  function wakeIn(ms: number): void {
    setTimeout(signal.raise, ms + 1).unref()
  }

  async function send(): Promise<void> {
    while (!stopping.signal.aborted) {
      const startedAt = elapsed()
      signal.reset()
      const pass = underWay.size < maxPosts ? breaker.admit() : undefined
      // A probe is one event: of several a single one that the platform chokes on would tell wrongly of all.
      const limit = pass?.isProbe ? 1 : batch
      let claimed = 0
      try {
        if (pass) claimed = await claimAndPost(pass, limit)
      } catch (error) {
        // Postgres is away, and orders with it: there is nothing to be woken for.
        log.warn({ err: error }, 'outbox events cannot be claimed')
        await rest(Math.min(settings.pollMs, databaseAwayMs))
        continue
      }
      if (claimed === limit) continue
      // Behind a few there may be more, when some of them are tried alone.
      if (claimed === 0) await signal.wait(settings.pollMs)
      await rest(claimGapMs - (elapsed() - startedAt))
    }
  }

  /** Starts to post what it claims. Gives how many events that is, which the post does not hold up. */
  async function claimAndPost(pass: Pass, limit: number): Promise<number> {
    const claimedAt = now()
    const lease = new Date(claimedAt + settings.leaseMs).toISOString()
    const claimBehind = (position: number) =>
      transactions.run((tx) =>
        tx.read(claimEvents, {
          now: new Date(claimedAt).toISOString(),
          lease,
          behind: position,
          limit,
          lastTried: maxAttempts - 1,
        }),
      )
    let events: ClaimedEvent[]
    try {
      // The platform may be well and choke on some events only. Probes go through the backlog, and begin anew at its
      // end, so that they come to one that it takes; from the first each time, they would not get past those.
      events = pass.isProbe && awayAt > 0 ? await claimBehind(awayAt) : []
      if (events.length === 0) events = await claimBehind(0)
    } catch (error) {
      pass.unused()
      throw error
    }
    if (events.length === 0) {
      pass.unused()
      return 0
    }
    events.sort((a, b) => a.position - b.position)
    const post = deliver(events, lease, pass)
      .catch((error: unknown) => log.warn({ err: error }, 'outbox events keep their claim until it ends'))
      .finally(() => {
        underWay.delete(post)
        // A place is free, and what stood behind these events of its order may go.
        signal.raise()
      })
    underWay.add(post)
    return events.length
  }

  async function deliver(events: ClaimedEvent[], lease: string, pass: Pass): Promise<void> {
    const positions = bigints(events.map(({ position }) => position))
    const delivery = await platform.post(events, cut.signal)
    counts.posts++
    if (delivery.delivered) {
      pass.succeeded()
      counts.delivered += events.length
      await transactions.run(async (tx) =>
        tx.write(markDelivered, { positions, at: new Date(now()).toISOString() }),
      )
      return
    }
    if (cut.signal.aborted) {
      pass.unused()
      await transactions.run(async (tx) => tx.write(releaseClaim, { positions, lease }))
      return
    }

    counts.failedPosts++
    counts.failed += events.length
    const { fault, reason } = delivery
    // An outage is no fault of the events that happen to be tried in it.
    const uncounted = fault === 'refused' || breaker.state === 'closed' ? 0 : 1
    if (fault === 'refused') pass.succeeded()
    else {
      pass.failed()
      awayAt = events.at(-1)?.position ?? 0
    }
    const ms = random() * exponential(retryMs, Math.max(...events.map(({ attempts }) => attempts)))
    log.debug({ events: events.length, reason, ms: Math.round(ms) }, 'outbox events not delivered')
    const failedAt = now()
    const marked = await transactions.run((tx) =>
      tx.read(markFailed, {
        positions,
        lease,
        error: reason,
        uncounted,
        due: new Date(failedAt + ms).toISOString(),
        maxAttempts,
        at: new Date(failedAt).toISOString(),
      }),
    )
    wakeIn(ms)
    const parked = marked.filter(({ isParked }) => isParked).map(({ eventId }) => eventId)
    counts.parked += parked.length
    if (parked.length > 0) log.error({ events: parked, reason }, 'outbox events parked: see npm run outbox')
  }

  async function prune(): Promise<void> {
    while (!stopping.signal.aborted) {
      const before = new Date(now() - settings.keepMs).toISOString()
      try {
        for (let round = 0; round < pruneRounds && !stopping.signal.aborted; round++) {
          const rows = await transactions.run((tx) => tx.read(pruneDelivered, { before, limit: pruneRows }))
          counts.pruned += rows.length
          if (rows.length < pruneRows) break
        }
      } catch (error) {
        log.warn({ err: error }, 'delivered outbox events not pruned')
      }
      await rest(pruneEveryMs)
    }
  }

  function rest(ms: number): Promise<unknown> {
    return ms <= 0
      ? Promise.resolve()
      : pause(ms, undefined, { signal: stopping.signal }).catch(() => undefined)
  }

  const ended = Promise.all([send(), prune()])
  return {
    wake: signal.raise,
    stats: () => ({ breaker: breaker.state, posting: underWay.size, ...counts }),
    async stop() {
      stopping.abort()
      signal.raise()
      const grace = setTimeout(() => cut.abort(), stopGraceMs)
      await ended
      await Promise.all(underWay)
      clearTimeout(grace)
    },
  }
}

/** `first`, doubled each time after, and never more than `most`. `times` from 1; ms. */
function exponential({ first, most }: { first: number; most: number }, times: number): number {
  return Math.min(most, first * 2 ** (times - 1))
}
