import { sql } from 'drizzle-orm'
import { openListener } from '../db/listener.ts'
import { openTransactions } from '../db/transactions.ts'
import type { Deps } from '../deps.ts'
import { countUndelivered, type Lag, readLag, type Undelivered } from './backlog.ts'
import { createNotifier, eventsChannel } from './notifier.ts'
import { createPlatform } from './platform.ts'
import { type RelayStats, startRelay } from './relay.ts'

/** Connections of a relay, besides the one that listens: claims, marks and pruning are short. */
const lanes = 3
/** Between two notifications of a process, so at most 20 a second, ms. */
const notifyGapMs = 50
const hourMs = 3_600_000
/** Events that are counted for the metrics: it takes Postgres some tens of ms, and a scrape waits for a second. */
const mostCounted = 100_000

export interface Outbox {
  /** Says that events were committed: to the relay of this process, or else to those of others. Never fails. */
  wake(): void
  /** Starts the relay of this process. Without DATA_PLATFORM_URL it starts none, and says so. */
  startRelay(): void
  /** Of the relay of this process, if it runs one. */
  stats(): RelayStats | undefined
  /** How far the platform lags behind; soon told, however much waits. */
  lag(): Promise<Lag>
  /** How many events wait, 100,000 at most. */
  undelivered(): Promise<Undelivered>
  /** Ends what is under way: a post within 2 s. */
  stop(): Promise<void>
}

/** The way of events to the data platform (ORD-7). Opens no connection before it needs one. */
export function createOutbox(deps: Deps): Outbox {
  const { env, db, now, random, log } = deps
  let running: ReturnType<typeof run> | undefined

  const notifier = createNotifier({
    send: () => db.execute(sql`select pg_notify(${eventsChannel}, '')`),
    gapMs: notifyGapMs,
    onError: (error) => log.debug({ err: error }, 'relays not told of events, they find them by polling'),
  })

  function run(url: string) {
    const timeoutMs = env.DATABASE_TIMEOUT_MS
    const transactions = openTransactions({
      url: env.DATABASE_URL,
      lanes,
      maxWaiting: 100,
      timeoutMs,
      applicationName: 'seonchak outbox',
    })
    const relay = startRelay({
      transactions,
      platform: createPlatform({ url, timeoutMs: env.OUTBOX_TIMEOUT_MS }),
      batch: env.OUTBOX_BATCH,
      maxAttempts: env.OUTBOX_MAX_ATTEMPTS,
      pollMs: env.OUTBOX_POLL_MS,
      leaseMs: env.OUTBOX_TIMEOUT_MS + 3 * timeoutMs,
      keepMs: env.OUTBOX_KEEP_HOURS * hourMs,
      now,
      elapsed: () => performance.now(),
      random,
      log,
    })
    const listener = openListener({
      url: env.DATABASE_URL,
      timeoutMs,
      applicationName: 'seonchak outbox listener',
      channel: eventsChannel,
      // After a lost connection there may have been something that was not heard.
      onNotify: relay.wake,
      onListening: relay.wake,
    })
    return {
      ...relay,
      async stop() {
        await Promise.all([relay.stop(), listener.close()])
        await transactions.close()
      },
    }
  }

  return {
    wake() {
      if (running) running.wake()
      else notifier.notify()
    },
    startRelay() {
      if (running) return
      if (env.DATA_PLATFORM_URL === undefined) {
        log.info('no outbox relay: DATA_PLATFORM_URL is not set, events stay in Postgres')
        return
      }
      running = run(env.DATA_PLATFORM_URL)
      log.info({ platform: new URL(env.DATA_PLATFORM_URL).host }, 'outbox relay runs')
    },
    stats: () => running?.stats(),
    lag: () => readLag(db, now()),
    undelivered: () => countUndelivered(db, mostCounted),
    async stop() {
      await Promise.all([running?.stop(), notifier.stop()])
    },
  }
}
