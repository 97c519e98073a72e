import type { RunScript } from './scripts.ts'

/** What is pending in a key. */
export interface PendingLook {
  /** all that are pending */
  length: number
  /** by the clock that dated the entries, ms */
  nowMs: number
  /** the oldest: the field that each is found by, and its text */
  entries: [field: string, entry: string][]
}

/** The script of what is pending as a typed function; what it does stands in its file in lua/. */
export function pendingScripts({ run }: RunScript) {
  return {
    /** Looks at what is pending in a key; at most `limit` entries of at least `minAgeMs` are given. */
    async lookAtPending(key: string, minAgeMs: number, limit: number): Promise<PendingLook> {
      const [, [length, nowMs, entries]] = await run('pending.look', key, minAgeMs, limit)
      return {
        length: length as number,
        nowMs: nowMs as number,
        entries: entries as PendingLook['entries'],
      }
    },
  }
}
