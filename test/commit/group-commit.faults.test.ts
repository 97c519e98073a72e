import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import {
  createGroupCommit,
  type GroupCommitOptions,
  type MemberResult,
} from '../../src/commit/group-commit.ts'
import { Failed } from './held-commits.ts'

/** A group commit over a commit function that answers at once; keeps what was committed and what settle was told. */
function setUp(
  decide: (members: string[], attempt: number) => string[],
  options: Partial<GroupCommitOptions<string, string>> = {},
) {
  const tried: string[] = []
  const settled: [string[], MemberResult<string>[]][] = []
  const commit = createGroupCommit<string, string>({
    async commit(members) {
      tried.push(members.join(' '))
      await turn()
      return decide(members, tried.length)
    },
    settle: async (members, results) => void settled.push([members, results]),
    classify: (error) => (error instanceof Failed ? error.fault : 'final'),
    maxBatch: 100,
    maxInFlight: 1,
    maxQueue: 100,
    maxWaitMs: 1000,
    now: () => 0,
    ...options,
  })
  const submitAll = (...members: string[]) =>
    Promise.allSettled(members.map((member) => commit.reserve()?.submit(member)))
  return { commit, tried, settled, submitAll }
}

const done = (member: string) => `${member}!`
const fulfilled = (value: string) => ({ status: 'fulfilled', value })
const rejected = (reason: unknown) => ({ status: 'rejected', reason })

describe("a 'member' fault", () => {
  it('has each member tried alone: only the bad one fails, and settle hears of each', async () => {
    const fault = new Failed('member')
    const { commit, tried, settled, submitAll } = setUp((members) => {
      if (members.includes('bad')) throw fault
      return members.map(done)
    })
    expect(await submitAll('a', 'bad', 'b')).toEqual([fulfilled('a!'), rejected(fault), fulfilled('b!')])
    expect(tried).toEqual(['a bad b', 'a', 'bad', 'b'])
    expect(settled).toEqual([
      [
        ['a', 'bad', 'b'],
        [
          { ok: true, outcome: 'a!' },
          { ok: false, error: fault, rolledBack: true },
          { ok: true, outcome: 'b!' },
        ],
      ],
    ])
    expect(commit.stats()).toMatchObject({ batches: 1, members: 3, alone: 3, retries: 0, taken: 0 })
  })

  it('of a lone member fails it, without another try', async () => {
    const fault = new Failed('member')
    const { commit, tried, settled, submitAll } = setUp(() => {
      throw fault
    })
    expect(await submitAll('bad')).toEqual([rejected(fault)])
    expect(tried).toEqual(['bad'])
    expect(settled).toEqual([[['bad'], [{ ok: false, error: fault, rolledBack: true }]]])
    expect(commit.stats()).toMatchObject({ batches: 1, alone: 0 })
  })

  it('leaves each member its own faults when tried alone', async () => {
    const lost = new Failed('unknown')
    const bad = new Failed('member', 'bad')
    const failed: string[] = []
    const { commit, tried, settled, submitAll } = setUp((members) => {
      if (members.length > 1) throw bad
      const [member = ''] = members
      if (member === 'lost') throw lost
      if (member === 'unlucky' && !failed.includes(member)) {
        failed.push(member)
        throw new Failed('transient')
      }
      return [done(member)]
    })
    expect(await submitAll('lost', 'unlucky', 'a')).toEqual([
      rejected(lost),
      fulfilled('unlucky!'),
      fulfilled('a!'),
    ])
    expect(tried).toEqual(['lost unlucky a', 'lost', 'unlucky', 'unlucky', 'a'])
    expect(settled[0]?.[1].map((result) => (result.ok ? 'ok' : result.rolledBack))).toEqual([
      false,
      'ok',
      'ok',
    ])
    expect(commit.stats()).toMatchObject({ batches: 1, alone: 3, retries: 1 })
  })
})

describe("a 'transient' fault", () => {
  it('has the whole batch tried again until it goes through, with a pause before each try', async () => {
    const pausedBefore: number[] = []
    function backoffMs(attempt: number): number {
      pausedBefore.push(attempt)
      return 1
    }
    const { commit, tried, settled, submitAll } = setUp(
      (members, attempt) => {
        if (attempt < 3) throw new Failed('transient')
        return members.map(done)
      },
      { maxAttempts: 3, backoffMs },
    )
    expect(await submitAll('a', 'b')).toEqual([fulfilled('a!'), fulfilled('b!')])
    expect(tried).toEqual(['a b', 'a b', 'a b'])
    expect(pausedBefore).toEqual([2, 3])
    expect(settled).toHaveLength(1)
    expect(commit.stats()).toMatchObject({ batches: 1, members: 2, retries: 2, alone: 0 })
  })

  it.each([
    { maxAttempts: 1, tries: 1 },
    { maxAttempts: 4, tries: 4 },
    { maxAttempts: undefined, tries: 5 },
  ])(
    'of a lone member fails it, rolled back, after $tries tries (maxAttempts $maxAttempts)',
    async ({ maxAttempts, tries }) => {
      const fault = new Failed('transient')
      const { commit, tried, settled, submitAll } = setUp(
        () => {
          throw fault
        },
        maxAttempts === undefined ? {} : { maxAttempts },
      )
      expect(await submitAll('a')).toEqual([rejected(fault)])
      expect(tried).toEqual(Array(tries).fill('a'))
      expect(settled).toEqual([[['a'], [{ ok: false, error: fault, rolledBack: true }]]])
      expect(commit.stats()).toMatchObject({ batches: 1, retries: tries - 1, taken: 0 })
    },
  )

  it('that stays has the batch parted into halves, until only the member that always fails does', async () => {
    const fault = new Failed('transient')
    const { commit, tried, settled, submitAll } = setUp(
      (members) => {
        if (members.includes('d')) throw fault
        return members.map(done)
      },
      { maxAttempts: 2 },
    )
    expect(await submitAll('a', 'b', 'c', 'd', 'e')).toEqual([
      ...['a!', 'b!', 'c!'].map(fulfilled),
      rejected(fault),
      fulfilled('e!'),
    ])
    expect(tried).toEqual([
      ...Array(2).fill('a b c d e'),
      'a b c',
      ...Array(3).fill('d e'),
      ...Array(3).fill('d'),
      'e',
    ])
    expect(settled[0]?.[1][3]).toEqual({ ok: false, error: fault, rolledBack: true })
    expect(commit.stats()).toMatchObject({
      batches: 1,
      members: 5,
      parted: 2,
      retries: 5,
      alone: 0,
      taken: 0,
    })
  })

  it('of a half leaves the other half what it came to, also where its outcome is unknown', async () => {
    const [unlucky, lost] = [new Failed('transient'), new Failed('unknown')]
    const { settled, submitAll } = setUp((members) => {
      if (members.includes('a')) throw unlucky
      if (members.includes('c')) throw lost
      return members.map(done)
    })
    expect(await submitAll('a', 'b', 'c', 'd')).toEqual([
      rejected(unlucky),
      fulfilled('b!'),
      rejected(lost),
      rejected(lost),
    ])
    expect(settled[0]?.[1].map((result) => (result.ok ? 'ok' : result.rolledBack))).toEqual([
      true,
      'ok',
      false,
      false,
    ])
  })

  it('of all members is not parted for longer than those in the queue can wait', async () => {
    let ms = 0
    const fault = new Failed('transient')
    const members = Array.from({ length: 64 }, (_, index) => String(index))
    const { commit, tried, submitAll } = setUp(
      () => {
        ms += 100
        throw fault
      },
      { maxAttempts: 1, now: () => ms },
    )
    expect(await submitAll(...members)).toEqual(members.map(() => rejected(fault)))
    // Two seconds, and then each part that is left has its tries.
    expect(ms).toBeLessThan(5000)
    expect(tried.length).toBe(ms / 100)
    expect(commit.stats()).toMatchObject({ batches: 1, members: 64, taken: 0 })
  })
})

it.each([
  { fault: 'final', rolledBack: true },
  { fault: 'unknown', rolledBack: false },
] as const)(
  'a $fault fault fails the batch at once, rolledBack $rolledBack',
  async ({ fault, rolledBack }) => {
    const error = new Failed(fault)
    const { commit, tried, settled, submitAll } = setUp(() => {
      throw error
    })
    expect(await submitAll('a', 'b')).toEqual([rejected(error), rejected(error)])
    expect(tried).toEqual(['a b'])
    expect(settled).toEqual([
      [
        ['a', 'b'],
        [
          { ok: false, error, rolledBack },
          { ok: false, error, rolledBack },
        ],
      ],
    ])
    expect(commit.stats()).toMatchObject({ batches: 1, members: 2, retries: 0, alone: 0, taken: 0 })
    expect(await submitAll('next')).toEqual([rejected(error)])
  },
)

it.each<[string, string[]]>([
  ['too few', ['a!']],
  ['too many', ['a!', 'b!', 'c!']],
  ['none', []],
])(
  'takes %s outcomes for a commit whose members are unknown, and does not repeat it',
  async (_, outcomes) => {
    const error = new Error('The commit gave another number of outcomes')
    const { tried, settled, submitAll } = setUp(() => outcomes, { classify: () => 'transient' })
    expect(await submitAll('a', 'b')).toEqual([rejected(error), rejected(error)])
    expect(tried).toEqual(['a b'])
    expect(settled).toEqual([
      [
        ['a', 'b'],
        [
          { ok: false, error, rolledBack: false },
          { ok: false, error, rolledBack: false },
        ],
      ],
    ])
  },
)

it('commits the next batch after a failed one', async () => {
  const { submitAll } = setUp((members, attempt) => {
    if (attempt === 1) throw new Failed('final')
    return members.map(done)
  })
  await submitAll('a')
  expect(await submitAll('b')).toEqual([fulfilled('b!')])
})
