import type { RunScript } from './scripts.ts'

/** What waits in a pending stream. */
export interface PendingLook {
  /** all that wait */
  length: number
  /** by the clock that made the ids, ms */
  nowMs: number
  /** the oldest: entry id, and its fields in a flat list */
  entries: [entryId: string, fields: string[]][]
}

/** The script of pending streams as a typed function; what it does stands in its file in lua/. */
export function pendingScripts({ run }: RunScript) {
  return {
    /** Looks at a pending stream, given by its key; at most `limit` entries of at least `minAgeMs` are given. */
    async lookAtPending(stream: string, minAgeMs: number, limit: number): Promise<PendingLook> {
      const [, [length, nowMs, entries]] = await run('pending.look', stream, minAgeMs, limit)
      return {
        length: length as number,
        nowMs: nowMs as number,
        entries: entries as PendingLook['entries'],
      }
    },
  }
}
