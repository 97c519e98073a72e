import { randomInt } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createGroupCommit, type MemberResult, WaitedTooLong } from '../../src/commit/group-commit.ts'
import { Failed } from './held-commits.ts'

/** Set SEED to run one seen before. */
const seed = Number(process.env.SEED ?? randomInt(2 ** 31))

/** What happens to one call of commit, besides what its members do to it; 'kept' is a commit whose answer is lost. */
const commitEvent = fc.record({
  fault: fc.constantFrom('none', 'none', 'none', 'transient', 'final', 'lost', 'kept'),
  turns: fc.nat(3),
})
const settleEvent = fc.record({ fails: fc.boolean(), turns: fc.nat(4) })
const arrival = fc.record({
  /** turns since the one before */
  gap: fc.constantFrom(0, 0, 0, 1, 2, 5),
  does: fc.constantFrom('submit', 'submit', 'submit', 'submit bad data', 'release'),
  /** turns between reserving and using the place, as admission takes */
  admission: fc.nat(2),
})
const scenario = fc.record({
  maxBatch: fc.integer({ min: 1, max: 5 }),
  maxInFlight: fc.integer({ min: 1, max: 3 }),
  maxQueue: fc.integer({ min: 1, max: 12 }),
  maxAttempts: fc.integer({ min: 1, max: 3 }),
  maxWaitMs: fc.constantFrom(4, 1_000_000),
  arrivals: fc.array(arrival, { maxLength: 60 }),
  commits: fc.array(commitEvent, { maxLength: 40 }),
  settles: fc.array(settleEvent, { maxLength: 40 }),
})
type Scenario = typeof scenario extends fc.Arbitrary<infer Value> ? Value : never

async function turns(count: number): Promise<void> {
  for (let passed = 0; passed < count; passed++) await turn()
}

async function play({ arrivals, commits, settles, ...limits }: Scenario): Promise<void> {
  const database = new Map<number, string>()
  const bad = new Set<number>()
  const settled = new Map<number, MemberResult<string>>()
  const expected = { transient: 0, alone: 0, members: 0, refused: 0, settleErrors: 0 }
  // A failed expectation inside of commit would pass for a fault, so what happens there is kept and judged afterwards.
  const seen = { running: 0, sizes: new Set<number>(), twice: [] as number[] }
  let running = 0
  let commitCalls = 0
  let settleCalls = 0
  let lateCalls = 0
  let time = 0
  let settleErrors = 0

  const group = createGroupCommit<number, string>({
    ...limits,
    async commit(members) {
      const call = commitCalls++
      const { fault, turns: latency } = commits[call] ?? { fault: 'none', turns: 1 }
      running++
      seen.running = Math.max(seen.running, running)
      seen.sizes.add(members.length)
      await turns(latency)
      running--
      if (fault === 'transient') {
        expected.transient++
        throw new Failed('transient')
      }
      if (fault === 'final') throw new Failed('final')
      if (fault === 'lost') throw new Failed('unknown')
      if (members.some((member) => bad.has(member))) {
        if (members.length > 1) expected.alone += members.length
        throw new Failed('member')
      }
      for (const member of members) {
        if (database.has(member)) seen.twice.push(member)
        database.set(member, `${member} by call ${call}`)
      }
      if (fault === 'kept') throw new Failed('unknown')
      return members.map((member) => `${member} by call ${call}`)
    },
    async settle(members, results) {
      const { fails, turns: latency } = settles[settleCalls++] ?? { fails: false, turns: 0 }
      const isLate = results.map((result) => !result.ok && result.error instanceof WaitedTooLong)
      // Those given up before the transaction are told of by themselves.
      expect(new Set(isLate).size).toBe(1)
      if (isLate[0]) lateCalls++
      else expected.members += members.length
      expect(results.length).toBe(members.length)
      members.forEach((member, index) => {
        expect(settled.has(member)).toBe(false)
        settled.set(member, results[index] as MemberResult<string>)
      })
      await turns(latency)
      if (fails) {
        expected.settleErrors++
        throw new Error('not settled')
      }
    },
    classify: (error) => (error as Failed).fault,
    now: () => time,
    onSettleError: () => settleErrors++,
  })

  const answers = new Map<number, Promise<PromiseSettledResult<string>[]>>()
  async function arrive(member: number, does: string, admission: number): Promise<void> {
    const isFull = group.stats().taken === limits.maxQueue
    const place = group.reserve()
    expect(place === null).toBe(isFull)
    if (!place) return void expected.refused++
    await turns(admission)
    if (does === 'release') return place.release()
    if (does === 'submit bad data') bad.add(member)
    answers.set(member, Promise.allSettled([place.submit(member)]))
  }

  const arriving: Promise<void>[] = []
  for (const [member, { gap, does, admission }] of arrivals.entries()) {
    await turns(gap)
    time += gap
    arriving.push(arrive(member, does, admission))
    const { taken, waiting, inFlight } = group.stats()
    expect(taken).toBeLessThanOrEqual(limits.maxQueue)
    expect(waiting).toBeLessThanOrEqual(taken)
    expect(inFlight).toBeLessThanOrEqual(limits.maxInFlight)
  }
  await Promise.all(arriving)
  await group.drain()
  expect(group.stats().taken).toBe(0)

  expect(seen.twice).toEqual([])
  expect(seen.running).toBeLessThanOrEqual(limits.maxInFlight)
  expect(Math.max(0, ...seen.sizes)).toBeLessThanOrEqual(limits.maxBatch)
  expect(seen.sizes.has(0)).toBe(false)

  const gaveUpTrying = new Set<Failed>()
  for (const [member, answer] of answers) {
    const [result] = await answer
    const told = settled.get(member)
    if (result?.status === 'fulfilled') {
      expect(result.value).toBe(database.get(member))
      expect(told).toEqual({ ok: true, outcome: result.value })
      expect(bad.has(member)).toBe(false)
    } else if (result?.reason instanceof WaitedTooLong) {
      expect(told).toEqual({ ok: false, error: result.reason, rolledBack: true })
      expect(database.has(member)).toBe(false)
    } else {
      const error: Failed = result?.reason
      const { fault } = error
      if (fault === 'transient') gaveUpTrying.add(error)
      expect(told).toEqual({ ok: false, error, rolledBack: fault !== 'unknown' })
      if (fault !== 'unknown') expect(database.has(member)).toBe(false)
      if (fault === 'member') expect(bad.has(member)).toBe(true)
    }
  }
  expect(settled.size).toBe(answers.size)
  expect(settleErrors).toBe(expected.settleErrors)
  const { batches, members, retries, alone, parted, refused, taken, waiting, inFlight } = group.stats()
  expect({ batches, members, retries, alone, refused, taken, waiting, inFlight }).toEqual({
    batches: settleCalls - lateCalls,
    members: expected.members,
    retries: expected.transient - parted - gaveUpTrying.size,
    alone: expected.alone,
    refused: expected.refused,
    taken: 0,
    waiting: 0,
    inFlight: 0,
  })
}

it(`settles every member exactly once with what the database has, whatever fails (SEED=${seed})`, async () => {
  await fc.assert(fc.asyncProperty(scenario, play), { seed, numRuns: 300, endOnFailure: false })
})
