import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type BatchFault,
  type BatchTiming,
  createGroupCommit,
  type GroupCommitOptions,
  type MemberResult,
  WaitedTooLong,
} from '../../src/commit/group-commit.ts'
import { Unavailable } from '../../src/errors.ts'

class Failed extends Error {
  readonly fault: BatchFault
  constructor(fault: BatchFault) {
    super(fault)
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
function setUp(options: Partial<GroupCommitOptions<string, string>> = {}) {
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
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  await turn()
  return (await Promise.race([promise.then(Boolean, Boolean), 'pending'])) !== 'pending'
}

const nothing: [] = []

describe('batching', () => {
  it('commits a lone member at once, with no timer set', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const { calls, submit } = setUp()
    const outcome = submit('a')
    expect(calls).toEqual(nothing)
    await turn()
    expect(calls.map((call) => call.members)).toEqual([['a']])
    expect(vi.getTimerCount()).toBe(0)
    calls[0]?.succeed()
    expect(await outcome).toBe('a!')
    expect(vi.getTimerCount()).toBe(0)
  })

  it('puts members that arrive in one turn into one batch, in order, and answers each with its own', async () => {
    const { calls, submit } = setUp()
    const outcomes = ['a', 'b', 'c'].map(submit)
    // What Redis answered in one read resolves in microtasks of the same turn.
    outcomes.push(Promise.resolve('d').then(submit))
    await turn()
    expect(calls.map((call) => call.members)).toEqual([['a', 'b', 'c', 'd']])
    calls[0]?.succeed(['1', '2', '3', '4'])
    expect(await Promise.all(outcomes)).toEqual(['1', '2', '3', '4'])
  })

  it('collects what arrives during a commit, and starts the next batch when it ends', async () => {
    const { calls, submit, call } = setUp()
    submit('a')
    await turn()
    for (const member of ['b', 'c']) {
      submit(member)
      await turn()
    }
    expect(calls).toHaveLength(1)
    calls[0]?.succeed()
    expect((await call(1)).members).toEqual(['b', 'c'])
  })

  it('bounds the size of a batch and the batches in flight', async () => {
    const { commit, calls, submit, call } = setUp({ maxBatch: 3, maxInFlight: 2 })
    const outcomes = [...'abcdefghi'].map(submit)
    await turn()
    expect(calls.map((call) => call.members.join(''))).toEqual(['abc', 'def'])
    expect(commit.stats()).toMatchObject({ taken: 9, waiting: 3, inFlight: 2 })
    calls[1]?.succeed()
    expect((await call(2)).members).toEqual(['g', 'h', 'i'])
    expect(commit.stats()).toMatchObject({ taken: 6, waiting: 0, inFlight: 2 })
    for (const call of calls) call.succeed()
    expect(await Promise.all(outcomes)).toEqual([...'abcdefghi'].map((member) => `${member}!`))
    expect(commit.stats()).toMatchObject({ taken: 0, waiting: 0, inFlight: 0, maxBatchSize: 3 })
  })

  it('starts a batch beside another when it is as large as the smallest under way', async () => {
    const { calls, submit } = setUp({ maxInFlight: 3 })
    const commits = () => calls.map((call) => call.members.join(''))
    for (const member of 'abc') submit(member)
    await turn()
    for (const member of 'de') submit(member)
    await turn()
    expect(commits()).toEqual(['abc'])
    submit('f')
    await turn()
    expect(commits()).toEqual(['abc', 'def'])
    calls[0]?.succeed()
    for (const member of 'gh') submit(member)
    await turn()
    expect(commits()).toEqual(['abc', 'def'])
    calls[1]?.succeed()
    await turn()
    await turn()
    expect(commits()).toEqual(['abc', 'def', 'gh'])
  })

  it('starts a small batch beside one that has kept it waiting for 100 ms, and sets no timer after that', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { calls, clock, submit } = setUp({ maxInFlight: 2 })
    const pass = async (ms: number) => {
      clock.ms += ms
      await vi.advanceTimersByTimeAsync(ms)
      await turn()
    }
    for (const member of 'abc') submit(member)
    await turn()
    submit('d')
    await pass(60)
    submit('e')
    await pass(39)
    expect(calls).toHaveLength(1)
    await pass(1)
    expect(calls.map((call) => call.members.join(''))).toEqual(['abc', 'de'])
    for (const call of calls) call.succeed()
    await pass(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('commits one by one with a batch size of 1', async () => {
    const { calls, submit, call } = setUp({ maxBatch: 1 })
    const outcomes = ['a', 'b'].map(submit)
    await turn()
    expect(calls.map((call) => call.members)).toEqual([['a']])
    calls[0]?.succeed()
    expect(await outcomes[0]).toBe('a!')
    expect((await call(1)).members).toEqual(['b'])
  })
})

describe('places', () => {
  it('gives exactly maxQueue places, and one more for each that ends', async () => {
    const { commit, submit, call } = setUp({ maxQueue: 3 })
    const outcome = submit('a')
    const reserved = commit.reserve()
    submit('b')
    expect(commit.reserve()).toBeNull()
    expect(commit.stats()).toMatchObject({ taken: 3, refused: 1 })

    reserved?.release()
    expect(commit.stats().taken).toBe(2)
    expect(commit.reserve()).not.toBeNull()
    expect(commit.reserve()).toBeNull()
    ;(await call(0)).succeed()
    await outcome
    expect(commit.stats()).toMatchObject({ taken: 1, refused: 2 })
    expect([commit.reserve() !== null, commit.reserve() !== null, commit.reserve()]).toEqual([
      true,
      true,
      null,
    ])
  })

  it('takes a release after submit, or a second one, for nothing', async () => {
    const { commit, call } = setUp()
    const place = commit.reserve()
    const outcome = place?.submit('a')
    place?.release()
    expect(commit.stats().taken).toBe(1)
    ;(await call(0)).succeed()
    expect(await outcome).toBe('a!')
    place?.release()
    expect(commit.stats().taken).toBe(0)

    const unused = commit.reserve()
    unused?.release()
    unused?.release()
    expect(commit.stats().taken).toBe(0)
  })

  it('cannot be submitted twice, nor after its release', async () => {
    const { commit, calls, call } = setUp()
    const place = commit.reserve()
    const outcome = place?.submit('a')
    expect(() => place?.submit('b')).toThrow('This place has been used')
    ;(await call(0)).succeed()
    expect(await outcome).toBe('a!')
    expect(() => place?.submit('c')).toThrow('This place has been used')

    const released = commit.reserve()
    released?.release()
    expect(() => released?.submit('d')).toThrow('This place has been used')
    await turn()
    expect(calls.map((each) => each.members)).toEqual([['a']])
  })

  it('gives up a member that waited longer than maxWaitMs, never committing it', async () => {
    const settled: string[][] = []
    const { commit, calls, clock, submit, call } = setUp({
      maxBatch: 2,
      settle: async (members) => void settled.push(members),
    })
    submit('first')
    const busy = await call(0)
    const late = submit('late')
    clock.ms = 1
    const inTime = submit('in time')
    clock.ms = 1001
    busy.succeed()
    const error = await late.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(WaitedTooLong)
    expect(error).toBeInstanceOf(Unavailable)
    expect(error).toMatchObject({ name: 'WaitedTooLong', message: 'waited 1001 ms for a batch' })
    ;(await call(1)).succeed()
    expect(await inTime).toBe('in time!')
    expect(calls.map((each) => each.members)).toEqual([['first'], ['in time']])
    expect(settled).toEqual([['first'], ['in time']])
    expect(commit.stats()).toMatchObject({ taken: 0, batches: 2, members: 2 })
  })

  it('goes on when everybody in a batch has waited too long', async () => {
    const { commit, clock, submit, call } = setUp({ maxBatch: 1 })
    submit('first')
    const busy = await call(0)
    const late = submit('late')
    clock.ms = 1001
    const fresh = submit('fresh')
    busy.succeed()
    await expect(late).rejects.toThrow(WaitedTooLong)
    const next = await call(1)
    expect(next.members).toEqual(['fresh'])
    next.succeed()
    expect(await fresh).toBe('fresh!')
    expect(commit.stats()).toMatchObject({ taken: 0, inFlight: 0 })
  })
})

describe('settle', () => {
  it('runs after the commit and before the answers, with the slot free for the next batch', async () => {
    const hanging = Promise.withResolvers<void>()
    const settled: [string[], MemberResult<string>[]][] = []
    const { commit, submit, call } = setUp({
      settle(members, results) {
        settled.push([members, results])
        return members.includes('a') ? hanging.promise : Promise.resolve()
      },
    })
    const a = submit('a')
    const first = await call(0)
    expect(settled).toEqual(nothing)
    const b = submit('b')
    first.succeed()
    ;(await call(1)).succeed()
    expect(await b).toBe('b!')
    expect(settled).toEqual([
      [['a'], [{ ok: true, outcome: 'a!' }]],
      [['b'], [{ ok: true, outcome: 'b!' }]],
    ])
    expect(await isSettled(a)).toBe(false)
    expect(commit.stats()).toMatchObject({ taken: 1, inFlight: 0 })
    hanging.resolve()
    expect(await a).toBe('a!')
    expect(commit.stats().taken).toBe(0)
  })

  it.each<[string, () => Promise<void>]>([
    ['rejects', () => Promise.reject(new Error('Redis is away'))],
    [
      'throws',
      () => {
        throw new Error('Redis is away')
      },
    ],
  ])('is reported and changes no answer when it %s', async (_, settle) => {
    const reported: unknown[] = []
    const { commit, submit, call } = setUp({ settle, onSettleError: (error) => reported.push(error) })
    const good = submit('a')
    ;(await call(0)).succeed()
    expect(await good).toBe('a!')
    const bad = submit('b')
    const error = (await call(1)).fail('final')
    await expect(bad).rejects.toBe(error)
    expect(reported).toEqual([new Error('Redis is away'), new Error('Redis is away')])
    expect(commit.stats().taken).toBe(0)
  })
})

describe('drain', () => {
  it('refuses new places and waits for those reserved, waiting, under way and settling', async () => {
    const settling = Promise.withResolvers<void>()
    const { commit, submit, call } = setUp({ settle: () => settling.promise })
    submit('running')
    const running = await call(0)
    submit('waiting')
    const [used, unused] = [commit.reserve(), commit.reserve()]
    const drained = [commit.drain(), commit.drain()]
    expect(commit.reserve()).toBeNull()
    expect(commit.stats()).toMatchObject({ taken: 4, waiting: 1, inFlight: 1, refused: 1 })

    const admitted = used?.submit('admitted before the drain')
    running.succeed()
    const last = await call(1)
    expect(last.members).toEqual(['waiting', 'admitted before the drain'])
    last.succeed()
    unused?.release()
    expect(await Promise.all(drained.map(isSettled))).toEqual([false, false])
    settling.resolve()
    expect(await admitted).toBe('admitted before the drain!')
    expect(await Promise.all([...drained, commit.drain()])).toEqual([undefined, undefined, undefined])
    expect(commit.stats()).toMatchObject({ taken: 0, waiting: 0, inFlight: 0, members: 3 })
    expect(commit.reserve()).toBeNull()
  })

  it('resolves at once when idle, and by the release of the last place', async () => {
    const idle = setUp().commit
    expect(await idle.drain()).toBeUndefined()
    expect(idle.reserve()).toBeNull()

    const { commit } = setUp()
    const places = [commit.reserve(), commit.reserve()]
    const drained = commit.drain()
    for (const place of places) {
      expect(await isSettled(drained)).toBe(false)
      place?.release()
    }
    expect(await drained).toBeUndefined()
  })
})

it('counts exactly', async () => {
  const timings: BatchTiming[] = []
  const { commit, clock, submit, call } = setUp({
    maxBatch: 2,
    maxQueue: 3,
    onBatch: (timing) => timings.push(timing),
  })
  const outcomes = [submit('a')]
  const first = await call(0)
  clock.ms = 5
  outcomes.push(submit('b'))
  clock.ms = 7
  outcomes.push(submit('c'))
  expect(commit.reserve()).toBeNull()
  clock.ms = 10
  first.succeed()
  const second = await call(1)
  clock.ms = 14
  second.succeed()
  await Promise.all(outcomes)
  expect(timings).toEqual([
    { size: 1, waitMs: 0, commitMs: 10 },
    { size: 2, waitMs: 5, commitMs: 4 },
  ])
  expect(commit.stats()).toEqual({
    batches: 2,
    members: 3,
    retries: 0,
    alone: 0,
    refused: 1,
    maxBatchSize: 2,
    waitMsTotal: 5,
    commitMsTotal: 14,
    taken: 0,
    waiting: 0,
    inFlight: 0,
  })
})
