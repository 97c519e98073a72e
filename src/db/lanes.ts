import postgres, { type Options, type PostgresType, type Sql } from 'postgres'
import { Unavailable } from '../errors.ts'
import { NotCommitted, Overdue } from './failure.ts'

/** A connection, which one user has at a time. */
export interface Lane {
  client: Sql<{ bigint: number }>
  /** when its plans were last thrown away */
  plannedAt: number
  /** something has gone through, so the connection is up */
  open: boolean
  /** the connection was lost: the client is never used again */
  broken: boolean
  /** statements of the present user that the client was given */
  given: { cancel(): void }[]
}

export interface Lanes {
  /** Runs `body` with a lane of its own. What it sends must have a deadline: see `within`. @throws Unavailable when none is free in time */
  use<Result>(body: (lane: Lane) => Promise<Result>): Promise<Result>
  /** Users waiting for a lane, and lanes in use. */
  stats(): { waiting: number; busy: number }
  /** Takes no new users, waits for those under way, and ends the connections. */
  close(): Promise<void>
}

export interface LanesSettings {
  url: string
  /** connections */
  lanes: number
  /** users that may wait for a lane */
  maxWaiting: number
  /** longest wait for a lane, ms */
  maxWaitMs: number
  connection: Options<Record<string, PostgresType>>
}

interface Waiter {
  resolve(lane: Lane): void
  reject(error: unknown): void
  overdue: NodeJS.Timeout
}

/**
 * Opens connections, lazily, as clients of a single connection each. The client's own pool is not used, as what it does
 * with a lost connection cannot be relied on (`postgres` 3.4.9): what it still held back is run on the next one
 * (porsager/postgres 1189, 1204, 1210), and where a statement was given to it in the turn of the event loop in which it
 * heard of the loss, it never sends anything on that connection again, so that each later statement there waits for
 * CONNECT_TIMEOUT (1209, 1215). Here nothing is sent on a lane whose connection was lost, what its client held back is
 * withdrawn, and the client is thrown away.
 */
export function openLanes(settings: LanesSettings): Lanes {
  const idle: Lane[] = Array.from({ length: settings.lanes }, openLane)
  const waiting: Waiter[] = []
  const users = new Set<Promise<unknown>>()
  let closed = false

  function openLane(): Lane {
    const lane: Lane = {
      plannedAt: performance.now(),
      open: false,
      broken: false,
      given: [],
      client: postgres(settings.url, {
        ...settings.connection,
        max: 1,
        max_lifetime: null,
        onclose: () => lose(lane),
      }) as unknown as Lane['client'],
    }
    return lane
  }

  async function acquire(): Promise<Lane> {
    if (closed) throw new Unavailable('the connections are closed')
    const lane = idle.pop()
    if (lane) return usable(lane)
    if (waiting.length >= settings.maxWaiting) throw new Unavailable('too many wait for a connection')
    return new Promise<Lane>((resolve, reject) => {
      const overdue = setTimeout(() => {
        waiting.splice(waiting.indexOf(waiter), 1)
        reject(new Unavailable('no connection was free in time'))
      }, settings.maxWaitMs)
      const waiter = { resolve, reject, overdue }
      waiting.push(waiter)
    })
  }

  function giveBack(given: Lane): void {
    const lane = usable(given)
    lane.given = []
    const waiter = waiting.shift()
    if (waiter) {
      clearTimeout(waiter.overdue)
      waiter.resolve(lane)
    } else if (lane.open) idle.push(lane)
    // Taken last: those that are up come first.
    else idle.unshift(lane)
  }

  function usable(lane: Lane): Lane {
    return lane.broken ? openLane() : lane
  }

  async function use<Result>(body: (lane: Lane) => Promise<Result>): Promise<Result> {
    const lane = await acquire()
    const user = body(lane)
    users.add(user)
    try {
      return await user
    } finally {
      users.delete(user)
      giveBack(lane)
    }
  }

  return {
    use,
    stats: () => ({ waiting: waiting.length, busy: settings.lanes - idle.length }),
    async close() {
      closed = true
      for (const { reject, overdue } of waiting.splice(0)) {
        clearTimeout(overdue)
        reject(new Unavailable('the connections are closed'))
      }
      // Each has a deadline.
      await Promise.allSettled(users)
      await Promise.all(idle.map((lane) => lane.client.end({ timeout: settings.maxWaitMs / 1000 })))
    },
  }
}

/**
 * Waits for what was sent on a lane. Past `timeoutMs` the lane is given up, and with it all that is under way there.
 * @throws Overdue when the deadline passed; NotCommitted where `work` made that of it
 */
export async function within<Result>(
  lane: Lane,
  timeoutMs: number,
  work: () => Promise<Result>,
): Promise<Result> {
  let overdue = false
  const deadline = setTimeout(() => {
    overdue = true
    lose(lane)
  }, timeoutMs)
  try {
    return await work()
  } catch (error) {
    if (!overdue) throw error
    const Reason = error instanceof NotCommitted ? NotCommitted : Overdue
    throw new Reason('Postgres did not answer within the deadline', { cause: error })
  } finally {
    clearTimeout(deadline)
  }
}

/**
 * Gives a lane up. The client connects anew for statements that it has not sent yet (a first use waits for its
 * description, a large one for the socket) and would run them there, outside of the transaction: they are withdrawn.
 */
export function lose(lane: Lane): void {
  lane.broken = true
  // Without a state a statement was never on the wire. One that was is left alone: `cancel` would ask the server over
  // another connection, and nobody hears when that fails.
  for (const query of lane.given) if ((query as { state?: unknown }).state === null) query.cancel()
  lane.client.end({ timeout: 0 }).catch(() => undefined)
}
