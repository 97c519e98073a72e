import postgres from 'postgres'
import { connectionOptions } from './client.ts'

export interface Listener {
  close(): Promise<void>
}

/**
 * Listens to a channel over a connection of its own, which is made again when it is lost. Notifications are hints:
 * those of the time without a connection are gone, so `onListening` is called after each time that it stands.
 */
export function openListener(options: {
  url: string
  /** deadline of the connection, ms */
  timeoutMs: number
  applicationName: string
  channel: string
  onNotify(): void
  onListening(): void
}): Listener {
  const { url, timeoutMs, applicationName, channel, onNotify, onListening } = options
  const client = postgres(url, { max: 1, ...connectionOptions(timeoutMs, applicationName) })
  // The client tries again on its own, a failure of the first attempt included.
  client.listen(channel, onNotify, onListening).catch(() => undefined)
  return { close: () => client.end({ timeout: 1 }) }
}
