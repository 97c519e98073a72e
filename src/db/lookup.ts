import { LRUCache } from 'lru-cache'
import { Overloaded } from '../errors.ts'

/** An id that was not there is not asked for again for this long, ms. */
const absentMs = 1000
const maxAbsent = 10_000
/** ids read by one statement */
const maxBatch = 500
/** ids that may wait for a statement */
const maxWaiting = 5000

/** Rows that never change once they are there, by id. */
export interface Lookup<Row> {
  /** The row where this process knows it already: hot paths ask here first, as to await costs them more than this. */
  known(id: number): Row | undefined
  /** The row, or undefined when there is none; one that another process made may be missed for a second. @throws Unavailable */
  find(id: number): Promise<Row | undefined>
  /** Takes in a row that was made here: it is found from now on. */
  learn(row: Row): void
}

/**
 * Keeps rows in process memory. Nobody can use ids that do not exist to reach Postgres at full speed: an absent id is
 * remembered for a second, callers of the same id share a read, and whatever is asked for meanwhile, one statement is
 * under way at a time and reads all that wait. Past its bound the queue refuses.
 */
export function createLookup<Row extends { id: number }>(options: {
  /** the rows that exist of these ids, in any order */
  read(ids: number[]): Promise<Row[]>
  /** rows kept at most */
  maxKnown: number
}): Lookup<Row> {
  const known = new LRUCache<number, Row>({ max: options.maxKnown })
  const absent = new LRUCache<number, true>({ max: maxAbsent, ttl: absentMs })
  /** by id: those that wait for a read, and those that are being read, all of which have not ended */
  const asked = new Map<number, PromiseWithResolvers<Row | undefined>>()
  let waiting: number[] = []
  let isReading = false

  async function readWaiting(): Promise<void> {
    isReading = true
    while (waiting.length > 0) {
      const ids = waiting.slice(0, maxBatch)
      waiting = waiting.slice(maxBatch)
      try {
        const found = new Map((await options.read(ids)).map((row) => [row.id, row]))
        for (const row of found.values()) known.set(row.id, row)
        for (const id of ids) end(id).resolve(found.get(id) ?? missed(id))
      } catch (error) {
        for (const id of ids) end(id).reject(error)
      }
    }
    isReading = false
  }

  function end(id: number): PromiseWithResolvers<Row | undefined> {
    const one = asked.get(id) as PromiseWithResolvers<Row | undefined>
    asked.delete(id)
    return one
  }

  function missed(id: number): Row | undefined {
    // Made here since the statement was sent.
    const row = known.get(id)
    if (!row) absent.set(id, true)
    return row
  }

  return {
    known: (id) => known.get(id),
    async find(id) {
      const row = known.get(id)
      if (row) return row
      if (absent.has(id)) return undefined
      const running = asked.get(id)
      if (running) return running.promise
      if (waiting.length >= maxWaiting) throw new Overloaded('too many unknown ids are being looked up')
      const own = Promise.withResolvers<Row | undefined>()
      asked.set(id, own)
      waiting.push(id)
      if (!isReading) void readWaiting()
      return own.promise
    },
    learn(row) {
      known.set(row.id, row)
      absent.delete(row.id)
    },
  }
}
