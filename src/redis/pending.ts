import type { Redis } from 'ioredis'

/** What waits in pending streams. */
export interface PendingStreams {
  entries: number
  /** age of the oldest by the clock of Redis, which also made the ids; 0 when there are none, ms */
  oldestMs: number
}

/** Reads how many entries wait in these streams, and how old the oldest is: two commands a stream, in one pipeline. */
export async function readPending(redis: Redis, streams: string[]): Promise<PendingStreams> {
  const [[seconds, micros], counts, firsts] = await Promise.all([
    redis.time(),
    Promise.all(streams.map((stream) => redis.xlen(stream))),
    Promise.all(streams.map((stream) => redis.xrange(stream, '-', '+', 'COUNT', 1))),
  ])
  const nowMs = Number(seconds) * 1000 + Number(micros) / 1000
  const ages = firsts.flat().map(([id]) => nowMs - Number(id.slice(0, id.indexOf('-'))))
  return {
    entries: counts.reduce((sum, count) => sum + count, 0),
    oldestMs: Math.max(0, ...ages),
  }
}
