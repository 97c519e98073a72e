import type { Scripts } from './scripts.ts'

/** What the clock of Redis, by which entries are dated, and that of a process can differ by, ms. */
export const maxClockDifferenceMs = 1000

/** What is pending in some keys. */
export interface PendingBacklog {
  entries: number
  /** age of the oldest by the clock of its Redis, which also dated it; 0 when there are none, ms */
  oldestMs: number
}

/** Reads how many entries are pending in these keys, and how old the oldest is: one script call a key. */
export async function readPending(scripts: Scripts, pendingKeys: string[]): Promise<PendingBacklog> {
  const looks = await Promise.all(pendingKeys.map((key) => scripts.lookAtPending(key, 0, 1)))
  const ages = looks.flatMap(({ nowMs, entries }) => entries.map(([, entry]) => nowMs - madeAtOf(entry)))
  return {
    entries: looks.reduce((sum, { length }) => sum + length, 0),
    oldestMs: Math.max(0, ...ages),
  }
}

/** When an entry, 'madeAt <ms> …', was made, by the clock of its Redis, ms. */
export function madeAtOf(entry: string): number {
  return Number(entry.split(' ', 2)[1])
}
