import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { type BatchTiming, type MemberResult, WaitedTooLong } from '../../src/commit/group-commit.ts'
import { Unavailable } from '../../src/errors.ts'
import { isSettled, setUp } from './held-commits.ts'

const nothing: [] = []

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
    const results: MemberResult<string>[] = []
    const { commit, calls, clock, submit, call } = setUp({
      maxBatch: 2,
      settle: async (members, told) => {
        settled.push(members)
        results.push(...told)
      },
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
    expect(settled).toEqual([['first'], ['late'], ['in time']])
    expect(results[1]).toEqual({ ok: false, error, rolledBack: true })
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
    parted: 0,
    refused: 1,
    maxBatchSize: 2,
    waitMsTotal: 5,
    commitMsTotal: 14,
    taken: 0,
    waiting: 0,
    inFlight: 0,
  })
})
