import { setTimeout as pause } from 'node:timers/promises'

/** The channel on which relays are told that there are new events. */
export const eventsChannel = 'outbox_events'

export interface Notifier {
  /** Has the relays told soon. Never blocks, never throws. */
  notify(): void
  /** Resolves when what was to be told has been. */
  stop(): Promise<void>
}

/**
 * Joins notifications: the first goes out at once, further ones `gapMs` after the one before. Postgres commits what
 * notifies one at a time, over all databases: that is why it is neither in the order's transaction nor once an order.
 * @param options.send tells the relays; when it fails, they find out by their own polls
 */
export function createNotifier(options: {
  send(): Promise<unknown>
  gapMs: number
  onError(error: unknown): void
}): Notifier {
  let isWanted = false
  let isStopping = false
  let sending: Promise<void> | undefined

  async function run(): Promise<void> {
    while (isWanted) {
      isWanted = false
      await options.send().catch(options.onError)
      if (!isStopping) await pause(options.gapMs)
    }
    sending = undefined
  }

  return {
    notify() {
      isWanted = true
      sending ??= run()
    },
    async stop() {
      isStopping = true
      await sending
    },
  }
}
