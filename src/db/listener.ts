import { setTimeout as pause } from 'node:timers/promises'
import postgres, { type Options, type PostgresType } from 'postgres'
import { connectionOptions } from './client.ts'

/** Pause before the connection is made again, ms. */
const reconnectMs = 200

export interface Listener {
  close(): Promise<void>
}

/**
 * Listens to a channel over a connection of its own, which is made again when it is lost. Notifications are hints:
 * those of the time without a connection are gone, so `onListening` is called after each time that it stands.
 *
 * The client's own `listen` is not used: ended while it connects again, it leaves a connection open that keeps the
 * process from ending. Here a client has one connection and one life.
 * @param options.channel a plain identifier
 */
export function openListener(options: {
  url: string
  /** for the connection to be made and to listen, ms */
  timeoutMs: number
  applicationName: string
  channel: string
  onNotify(): void
  onListening(): void
}): Listener {
  const { url, timeoutMs, applicationName, channel, onNotify, onListening } = options
  const closing = new AbortController()
  const { promise: closed, resolve: close } = Promise.withResolvers<void>()

  async function listenOnce(): Promise<void> {
    const { promise: lost, resolve: lose } = Promise.withResolvers<void>()
    const client = postgres(url, {
      max: 1,
      max_lifetime: null,
      ...connectionOptions(timeoutMs, applicationName),
      onclose: () => lose(),
      // What the client's own `listen` is made of; it is not among its declared options.
      onnotify: onNotify,
    } as Options<Record<string, PostgresType>>)
    const overdue = setTimeout(lose, timeoutMs)
    const listening = client.unsafe(`listen ${channel}`).then(() => {
      clearTimeout(overdue)
      onListening()
      return lost
    })
    try {
      await Promise.race([listening, lost, closed])
    } finally {
      clearTimeout(overdue)
      await client.end({ timeout: 0 })
    }
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      // Postgres is away: whoever wants to be told of that asks it something.
      await listenOnce().catch(() => undefined)
      await pause(reconnectMs, undefined, { signal: closing.signal }).catch(() => undefined)
    }
  }

  const ended = run()
  return {
    close() {
      closing.abort()
      close()
      return ended
    },
  }
}
