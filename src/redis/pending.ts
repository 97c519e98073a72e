import type { Scripts } from './scripts.ts'

/** What the clock of Redis, by which entries are dated, and that of a process can differ by, ms. */
export const maxClockDifferenceMs = 1000

/** What waits in pending streams. */
export interface PendingStreams {
  entries: number
  /** age of the oldest by the clock of its Redis, which also made its id; 0 when there are none, ms */
  oldestMs: number
}

/** Reads how many entries wait in these streams, and how old the oldest is: one script call a stream. */
export async function readPending(scripts: Scripts, streams: string[]): Promise<PendingStreams> {
  const looks = await Promise.all(streams.map((stream) => scripts.lookAtPending(stream, 0, 1)))
  const ages = looks.flatMap(({ nowMs, entries }) => entries.map(([entryId]) => nowMs - madeAtMs(entryId)))
  return {
    entries: looks.reduce((sum, { length }) => sum + length, 0),
    oldestMs: Math.max(0, ...ages),
  }
}

/** When an entry was made, by the clock of its Redis, ms. */
export function madeAtMs(entryId: string): number {
  return Number(entryId.slice(0, entryId.indexOf('-')))
}
