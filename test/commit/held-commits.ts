import { setImmediate as turn } from 'node:timers/promises'
import { expect, vi } from 'vitest'
import { type BatchFault, createGroupCommit, type GroupCommitOptions } from '../../src/commit/group-commit.ts'

export class Failed extends Error {
  readonly fault: BatchFault
  constructor(fault: BatchFault, message: string = fault) {
    super(message)
    this.fault = fault
  }
}

/** A commit that the test ends by hand. */
interface Call {
  members: string[]
  succeed(outcomes?: string[]): void
  fail(fault: BatchFault): Failed
}

/** A group commit whose commits wait in `calls` until the test ends them; `clock.ms` is its time. */
export function setUp(options: Partial<GroupCommitOptions<string, string>> = {}) {
  const calls: Call[] = []
  const clock = { ms: 0 }
  const commit = createGroupCommit<string, string>({
    commit: (members) =>
      new Promise((resolve, reject) => {
        calls.push({
          members,
          succeed: (outcomes = members.map((member) => `${member}!`)) => resolve(outcomes),
          fail(fault) {
            const error = new Failed(fault)
            reject(error)
            return error
          },
        })
      }),
    classify: (error) => (error instanceof Failed ? error.fault : 'final'),
    maxBatch: 100,
    maxInFlight: 1,
    maxQueue: 100,
    maxWaitMs: 1000,
    now: () => clock.ms,
    ...options,
  })

  function submit(member: string): Promise<string> {
    const place = commit.reserve()
    if (!place) throw new Error('no place')
    const outcome = place.submit(member)
    // A test looks at a failure when it is ready to.
    outcome.catch(() => undefined)
    return outcome
  }

  /** The commit with this number, once it has been called. */
  async function call(index: number): Promise<Call> {
    await vi.waitFor(() => expect(calls.length).toBeGreaterThan(index), { interval: 1 })
    return calls[index] as Call
  }

  return { commit, calls, clock, submit, call }
}

/** Whether a promise has been settled by now. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  await turn()
  return (await Promise.race([promise.then(Boolean, Boolean), 'pending'])) !== 'pending'
}
