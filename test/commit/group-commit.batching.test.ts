import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { setUp } from './held-commits.ts'

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
