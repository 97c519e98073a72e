import { setTimeout as pause } from 'node:timers/promises'
import { Unavailable } from '../errors.ts'

/**
 * Group commit: joins the writes that wait at the same moment into one transaction. It knows no domain: a member is
 * whatever the caller submits, an outcome whatever the commit gives back for it.
 */

/** How a failed batch is to be taken. */
export type BatchFault =
  /** One member's data broke the batch and everything was rolled back: each member is tried alone. */
  | 'member'
  /** Rolled back by chance (deadlock, serialization, lost optimistic race): it is tried again, and at last in halves. */
  | 'transient'
  /** Rolled back, and trying again would not help. */
  | 'final'
  /** Whether it was committed may be unknown: every member is told so, and recovery finds out. */
  | 'unknown'

/** What became of one member. */
export type MemberResult<Outcome> =
  | { ok: true; outcome: Outcome }
  /** `rolledBack`: it is certain that nothing of this member was committed. */
  | { ok: false; error: unknown; rolledBack: boolean }

export interface BatchTiming {
  size: number
  /** longest time a member of the batch waited for it, ms */
  waitMs: number
  commitMs: number
}

export interface GroupCommitOptions<Member, Outcome> {
  /** Commits all members in one transaction and gives an outcome per member, in order. */
  commit(members: Member[]): Promise<Outcome[]>
  /** Runs before members are answered: after their transaction, if they had one. Its failure changes no answer. */
  settle?(members: Member[], results: MemberResult<Outcome>[]): Promise<void>
  classify(error: unknown): BatchFault
  maxBatch: number
  maxInFlight: number
  /** members that may be reserved, waiting or under way at once */
  maxQueue: number
  /** a member that waited longer than this for its batch is given up, ms */
  maxWaitMs: number
  /** how often a whole batch is tried when it fails by chance */
  maxAttempts?: number
  /** pause before try `attempt` (from 2), ms */
  backoffMs?(attempt: number): number
  /** monotonic clock, ms */
  now(): number
  onBatch?(timing: BatchTiming): void
  onSettleError?(error: unknown): void
}

/** A member waited longer than `maxWaitMs` for its batch. It was never sent to the database. */
export class WaitedTooLong extends Unavailable {
  override name = 'WaitedTooLong'
  constructor(waitedMs: number) {
    super(`waited ${Math.round(waitedMs)} ms for a batch`)
  }
}

const toRolledBack = (error: unknown) => ({ ok: false, error, rolledBack: true }) as const

/** A reserved place. Exactly one of `submit` and `release` ends it. */
export interface Place<Member, Outcome> {
  /** Joins the next batch. Resolves after commit and settle; rejects with what the batch failed for. */
  submit(member: Member): Promise<Outcome>
  /** Gives the place back unused; does nothing once submitted. */
  release(): void
}

export interface GroupCommitStats {
  batches: number
  members: number
  /** batches tried again after a transient fault */
  retries: number
  /** members tried alone because their batch failed for one member's fault */
  alone: number
  /** batches, and parts of them, that were parted into halves because trying them again did not help */
  parted: number
  /** reservations refused because the queue was full or draining */
  refused: number
  maxBatchSize: number
  waitMsTotal: number
  commitMsTotal: number
  /** now: places taken, members waiting, batches under way */
  taken: number
  waiting: number
  inFlight: number
}

export interface GroupCommit<Member, Outcome> {
  /** Takes a place, or null when all are taken or the commit is draining. Call it before admission. */
  reserve(): Place<Member, Outcome> | null
  stats(): Readonly<GroupCommitStats>
  /** Refuses new places and resolves when all that were taken have ended. */
  drain(): Promise<void>
}

interface Waiting<Member, Outcome> {
  member: Member
  since: number
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

/**
 * A batch that takes longer than this, ms, is not waiting for the disk but for a lock that somebody holds: the next one
 * starts beside it, however small it is.
 */
const besideAfterMs = 100

/** How often a half is tried when it fails by chance: after all the tries of its whole, few. */
const attemptsOfHalf = 3
/**
 * For how long a batch is parted into halves and those again, ms. One member that always loses its race is found within
 * tens of short transactions. Where nearly all do, those behind in the queue would be given up for it (`maxWaitMs`).
 */
const partingMs = 2000

/**
 * Starts a group commit. With none under way a batch starts at once. Beside others one starts when it has as many members
 * as the smallest of them, or when one of its members has waited for `besideAfterMs`: several small batches would only
 * queue for the same rows, and cost far more a member than the one that they make together.
 */
export function createGroupCommit<Member, Outcome>(
  options: GroupCommitOptions<Member, Outcome>,
): GroupCommit<Member, Outcome> {
  const { maxBatch, maxInFlight, maxQueue, maxWaitMs, maxAttempts = 5, now } = options
  const queue: Waiting<Member, Outcome>[] = []
  const counters = { batches: 0, members: 0, retries: 0, alone: 0, parted: 0, refused: 0, maxBatchSize: 0 }
  const totals = { waitMsTotal: 0, commitMsTotal: 0 }
  const underWay = new Set<Waiting<Member, Outcome>[]>()
  let taken = 0
  let pumpScheduled = false
  let besideTimer: NodeJS.Timeout | undefined
  let draining = false
  let drained: PromiseWithResolvers<void> | undefined

  function reserve(): Place<Member, Outcome> | null {
    if (draining || taken >= maxQueue) {
      counters.refused++
      return null
    }
    taken++
    let open = true
    return {
      submit(member) {
        if (!open) throw new Error('This place has been used')
        open = false
        return new Promise<Outcome>((resolve, reject) => {
          queue.push({ member, since: now(), resolve, reject })
          schedulePump()
        })
      },
      release() {
        if (!open) return
        open = false
        leave(1)
      },
    }
  }

  function leave(count: number): void {
    taken -= count
    if (draining && taken === 0) drained?.resolve()
  }

  // Admissions that Redis answered in one read resolve one after the other in this turn of the loop. Waiting for the
  // turn to end puts them into one batch instead of a batch of one and a remainder.
  function schedulePump(): void {
    if (pumpScheduled || underWay.size >= maxInFlight) return
    pumpScheduled = true
    setImmediate(() => {
      pumpScheduled = false
      while (mayStart()) void start(queue.splice(0, maxBatch))
      lookAgainInTime()
    })
  }

  function mayStart(): boolean {
    const [oldest] = queue
    if (oldest === undefined || underWay.size >= maxInFlight) return false
    const smallest = Math.min(...[...underWay].map((batch) => batch.length))
    return underWay.size === 0 || queue.length >= smallest || now() - oldest.since >= besideAfterMs
  }

  function lookAgainInTime(): void {
    const [oldest] = queue
    if (oldest === undefined || underWay.size >= maxInFlight) return
    besideTimer ??= setTimeout(
      () => {
        besideTimer = undefined
        schedulePump()
      },
      oldest.since + besideAfterMs - now(),
    )
  }

  function endBatch(batch: Waiting<Member, Outcome>[]): void {
    underWay.delete(batch)
    if (underWay.size === 0) {
      clearTimeout(besideTimer)
      besideTimer = undefined
    }
    schedulePump()
  }

  async function start(batch: Waiting<Member, Outcome>[]): Promise<void> {
    const startedAt = now()
    const late = batch.filter(({ since }) => startedAt - since > maxWaitMs)
    const tooLong = late.map(({ since }) => new WaitedTooLong(startedAt - since))
    if (late.length > 0) void answer(late, tooLong.map(toRolledBack))
    const live = batch.filter(({ since }) => startedAt - since <= maxWaitMs)
    if (live.length === 0) return

    underWay.add(live)
    const results = await commitTogether(live.map(({ member }) => member))
    count({
      size: live.length,
      waitMs: startedAt - Math.min(...live.map((waiting) => waiting.since)),
      commitMs: now() - startedAt,
    })
    // The slot is free from here on: settling talks to another store and must not hold up the next transaction.
    endBatch(live)
    void answer(live, results)
  }

  async function answer(batch: Waiting<Member, Outcome>[], results: MemberResult<Outcome>[]): Promise<void> {
    try {
      const members = batch.map(({ member }) => member)
      await options.settle?.(members, results)
    } catch (error) {
      options.onSettleError?.(error)
    }
    batch.forEach((waiting, index) => {
      const result = results[index] as MemberResult<Outcome>
      if (result.ok) waiting.resolve(result.outcome)
      else waiting.reject(result.error)
    })
    leave(batch.length)
  }

  async function commitTogether(
    members: Member[],
    attempts = maxAttempts,
    partUntil = Infinity,
  ): Promise<MemberResult<Outcome>[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        const outcomes = await options.commit(members)
        if (outcomes.length === members.length) return outcomes.map((outcome) => ({ ok: true, outcome }))
        // It is committed, but for whom cannot be told; to try again would commit it twice.
        const error = new Error('The commit gave another number of outcomes')
        return members.map(() => ({ ok: false, error, rolledBack: false }))
      } catch (error) {
        const fault = options.classify(error)
        if (fault === 'transient' && attempt < attempts) {
          counters.retries++
          await pause(options.backoffMs?.(attempt + 1) ?? 0)
        } else if (fault === 'member' && members.length > 1) {
          counters.alone += members.length
          const results: MemberResult<Outcome>[] = []
          for (const member of members) results.push(...(await commitTogether([member])))
          return results
        } else if (fault === 'transient' && members.length > 1 && now() < partUntil) {
          counters.parted++
          const until = Math.min(partUntil, now() + partingMs)
          const middle = Math.ceil(members.length / 2)
          // One after the other: beside each other they would be one more chance to meet.
          const first = await commitTogether(members.slice(0, middle), attemptsOfHalf, until)
          return [...first, ...(await commitTogether(members.slice(middle), attemptsOfHalf, until))]
        } else {
          return members.map(() => ({ ok: false, error, rolledBack: fault !== 'unknown' }))
        }
      }
    }
  }

  function count(timing: BatchTiming): void {
    counters.batches++
    counters.members += timing.size
    counters.maxBatchSize = Math.max(counters.maxBatchSize, timing.size)
    totals.waitMsTotal += timing.waitMs
    totals.commitMsTotal += timing.commitMs
    options.onBatch?.(timing)
  }

  return {
    reserve,
    stats: () => ({ ...counters, ...totals, taken, waiting: queue.length, inFlight: underWay.size }),
    drain() {
      draining = true
      if (taken === 0) return Promise.resolve()
      drained ??= Promise.withResolvers<void>()
      return drained.promise
    },
  }
}
