import { randomUUIDv7 } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { givenBack } from '../../src/redis/coupon-scripts.ts'
import { keys } from '../../src/redis/keys.ts'
import { readScripts } from '../../src/redis/script-source.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

let harness: Harness
let policyId = 1_000_000
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())
beforeEach(() => {
  policyId++
})

const hour = 3_600_000
const day = 24 * hour

/** The clock of Redis, which the scripts go by, ms. */
async function redisNow(): Promise<number> {
  const [seconds, micros] = await harness.redis.time()
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000)
}

async function load(remaining: number, window: { startsAt?: number; endsAt?: number } = {}) {
  const now = await redisNow()
  const { startsAt = now - hour, endsAt = now + hour } = window
  await harness.redis.hset(keys.couponPolicy(policyId), 'loader', 'me')
  return harness.deps.scripts.loadPolicy(
    policyId,
    { loader: 'me', settles: 0 },
    { total: 10, remaining, startsAt, endsAt, holdersExpireAt: endsAt + day, holdersUpTo: 0 },
  )
}

const issue = (userId: number, couponId: string = randomUUIDv7()) =>
  harness.deps.scripts.issueCoupon(policyId, userId, couponId)

/** Issues to a user and gives the grant. */
async function admit(userId: number) {
  const couponId = randomUUIDv7()
  const admitted = await issue(userId, couponId)
  if (admitted.outcome !== 'ADMITTED') throw new Error(`not admitted: ${admitted.outcome}`)
  return { couponId, userId }
}

/** Runs the very script with its one question for the time replaced by an answer, ms. */
async function issueAt(now: number, userId: number) {
  const source = readScripts().find((script) => script.name === 'coupon.issue')
  const parts = source?.lua.split("redis.call('TIME')") ?? []
  expect(parts.length).toBe(2)
  const answer = (await harness.redis.eval(
    parts.join('{ math.floor(ARGV[2] / 1000), ARGV[2] % 1000 * 1000 }'),
    3,
    keys.couponPolicy(policyId),
    keys.couponPending(policyId),
    keys.couponHolder(policyId, userId),
    randomUUIDv7(),
    now,
  )) as string
  return source?.outcomes[Number(answer.split(' ')[0])]
}

const inspect = () => harness.deps.scripts.inspectPolicy(policyId)
const settle = (...grants: { couponId: string; userId: number; heldId: string | null }[]) =>
  redisNow().then((now) => harness.deps.scripts.settleCoupons(policyId, now + day, grants))

describe('coupon.issue', () => {
  it('[CPN-3] NOT_LOADED when nothing is known of the policy, never a made-up zero', async () => {
    expect(await issue(1)).toEqual({ outcome: 'NOT_LOADED' })
    expect(await inspect()).toMatchObject({ remaining: null, pendingCouponIds: [] })
  })

  it('[CPN-3] ADMITTED takes one unit and leaves a pending grant, with an expiry', async () => {
    await load(10)
    const couponId = randomUUIDv7()
    const admitted = await issue(1, couponId)
    expect(admitted).toMatchObject({ outcome: 'ADMITTED' })
    expect(await inspect()).toMatchObject({ remaining: 9, pendingCouponIds: [couponId] })
    expect(await harness.redis.exists(keys.couponHolder(policyId, 1))).toBe(0)
    expect(await harness.redis.pttl(keys.couponPending(policyId))).toBeGreaterThan(hour)
    // Not a list, which would be searched from its start for each user.
    expect(await harness.redis.object('ENCODING', keys.couponPending(policyId))).toBe('hashtable')
  })

  it('[CPN-1, CPN-3] answers those who ask in one call one after the other, down to the last unit', async () => {
    await load(3)
    const before = await harness.redis.info('commandstats')
    const answers = await Promise.all([1, 2, 1, 3, 4, 2].map((userId) => issue(userId)))
    expect(answers.map(({ outcome }) => outcome)).toEqual([
      'ADMITTED',
      'ADMITTED',
      'IN_PROGRESS',
      'ADMITTED',
      'SOLD_OUT',
      'IN_PROGRESS',
    ])
    const calls = (text: string) => Number(/cmdstat_evalsha:calls=(\d+)/.exec(text)?.[1] ?? 0)
    expect(calls(await harness.redis.info('commandstats')) - calls(before)).toBe(1)
    expect(await inspect()).toMatchObject({ remaining: 0, pendingCouponIds: { length: 3 } })
  })

  it('[CPN-3, ALL-2] ADMITTED again, and nothing taken again, for the same coupon id', async () => {
    await load(10)
    const couponId = randomUUIDv7()
    const first = await issue(1, couponId)
    expect(await issue(1, couponId)).toEqual(first)
    expect(await inspect()).toMatchObject({ remaining: 9, pendingCouponIds: [couponId] })
  })

  it('[CPN-3] at 1 the last unit is given, at 0 the policy is SOLD_OUT and stays at 0', async () => {
    await load(1)
    expect(await issue(1)).toMatchObject({ outcome: 'ADMITTED' })
    expect(await issue(2)).toEqual({ outcome: 'SOLD_OUT' })
    expect((await inspect()).remaining).toBe(0)
  })

  it.each([0, -1])('[CPN-3] SOLD_OUT for a policy loaded with %i left', async (remaining) => {
    await load(remaining)
    expect(await issue(1)).toEqual({ outcome: 'SOLD_OUT' })
  })

  it('[CPN-3] from the total down to 0 each unit is given once', async () => {
    await load(10)
    for (let userId = 1; userId <= 10; userId++) {
      expect(await issue(userId)).toMatchObject({ outcome: 'ADMITTED' })
      expect((await inspect()).remaining).toBe(10 - userId)
    }
    expect(await issue(11)).toEqual({ outcome: 'SOLD_OUT' })
  })

  it('[CPN-2] the window is [start, end): to the millisecond NOT_STARTED, open, open, ENDED', async () => {
    const startsAt = (await redisNow()) + hour
    const endsAt = startsAt + hour
    await load(10, { startsAt, endsAt })
    expect(await issueAt(startsAt - 1, 1)).toBe('NOT_STARTED')
    expect(await issueAt(startsAt, 2)).toBe('ADMITTED')
    expect(await issueAt(endsAt - 1, 3)).toBe('ADMITTED')
    expect(await issueAt(endsAt, 4)).toBe('ENDED')
    expect((await inspect()).remaining).toBe(8)
  })

  it('[CPN-2] the time is that of Redis, by which the grant is dated', async () => {
    const now = await redisNow()
    await load(10, { startsAt: now - 1 })
    const admitted = await issue(1)
    const issuedAt = admitted.outcome === 'ADMITTED' ? admitted.issuedAtMs : 0
    expect(issuedAt).toBeGreaterThanOrEqual(now)
    expect(issuedAt).toBeLessThanOrEqual(await redisNow())
    await harness.redis.hset(keys.couponPolicy(policyId), 'endsAt', now)
    expect(await issue(2)).toEqual({ outcome: 'ENDED' })
    await harness.redis.hset(keys.couponPolicy(policyId), 'startsAt', now + hour, 'endsAt', now + 2 * hour)
    expect(await issue(3)).toEqual({ outcome: 'NOT_STARTED' })
  })

  it('[CPN-3] what the user has comes before window and quantity: IN_PROGRESS, then ALREADY_ISSUED, also when all is over', async () => {
    await load(1)
    const grant = await admit(1)
    expect(await issue(1)).toEqual({ outcome: 'IN_PROGRESS', couponId: grant.couponId })
    await settle({ ...grant, heldId: grant.couponId })
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: grant.couponId })
    expect(await issue(2)).toEqual({ outcome: 'SOLD_OUT' })
    await harness.redis.hset(keys.couponPolicy(policyId), 'endsAt', 1)
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: grant.couponId })
    expect(await issue(2)).toEqual({ outcome: 'ENDED' })
    await harness.redis.hdel(keys.couponPolicy(policyId), 'remaining')
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: grant.couponId })
    expect(await issue(2)).toEqual({ outcome: 'NOT_LOADED' })
  })
})

describe('coupon.settle', () => {
  it('[CPN-3] SETTLED: a committed grant leaves pending, and its holder is written, with an expiry', async () => {
    await load(10)
    const grant = await admit(1)
    expect(await settle({ ...grant, heldId: grant.couponId })).toBe('SETTLED')
    expect(await inspect()).toMatchObject({ remaining: 9, pendingCouponIds: [], settles: 1 })
    expect(await harness.redis.get(keys.couponHolder(policyId, 1))).toBe(grant.couponId)
    expect(await harness.redis.pttl(keys.couponHolder(policyId, 1))).toBeGreaterThan(hour)
    expect(await harness.redis.pttl(keys.couponPolicy(policyId))).toBeGreaterThan(hour)
  })

  it('[CPN-3, ALL-4] DROPPED: a grant that Postgres refused frees its user and has everything loaded again', async () => {
    await load(10)
    const grant = await admit(1)
    expect(await settle({ ...grant, heldId: null })).toBe('DROPPED')
    expect(await inspect()).toMatchObject({ remaining: null, holdersUpTo: null, pendingCouponIds: [] })
    expect(await harness.redis.exists(keys.couponHolder(policyId, 1))).toBe(0)
  })

  it('[CPN-3, ALL-4] DROPPED: where Postgres knows another coupon of the user, the holder becomes that one', async () => {
    await load(10)
    const grant = await admit(1)
    const heldId = randomUUIDv7()
    expect(await settle({ ...grant, heldId })).toBe('DROPPED')
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: heldId })
    expect(await inspect()).toMatchObject({ remaining: null, holdersUpTo: null })
  })

  it('[ALL-4] DROPPED: a committed grant that Redis has lost makes the quantity doubtful, not the holders', async () => {
    await load(10)
    const lost = { couponId: randomUUIDv7(), userId: 1, heldId: null }
    expect(await settle({ ...lost, heldId: lost.couponId })).toBe('DROPPED')
    expect(await inspect()).toMatchObject({ remaining: null, holdersUpTo: 0 })
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: lost.couponId })
  })

  it('[CPN-3, ALL-4] takes many grants at once, each by its own fate; one that Redis has lost counts for all', async () => {
    await load(10)
    const [kept, back, lost] = [await admit(1), await admit(2), await admit(3)]
    await harness.redis.hdel(keys.couponPending(policyId), '3')
    const committed = [kept, lost].map((grant) => ({ ...grant, heldId: grant.couponId }))
    expect(await settle(...committed, { ...back, heldId: givenBack })).toBe('DROPPED')
    expect(await inspect()).toMatchObject({ remaining: null, holdersUpTo: 0, pendingCouponIds: [] })
    expect(await Promise.all([1, 3].map((userId) => issue(userId)))).toEqual(
      committed.map(({ couponId }) => ({ outcome: 'ALREADY_ISSUED', couponId })),
    )
  })

  it('[ALL-4] run twice, as by recovery and its own process, it leaves the same holder and quantity', async () => {
    await load(10)
    const grant = await admit(1)
    expect(await settle({ ...grant, heldId: grant.couponId })).toBe('SETTLED')
    expect(await settle({ ...grant, heldId: grant.couponId })).toBe('SETTLED')
    expect((await inspect()).remaining).toBe(9)
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: grant.couponId })
  })

  it('[ALL-4] a refusal settled twice frees nothing more', async () => {
    await load(10)
    const refused = await admit(2)
    await settle({ ...refused, heldId: null })
    await settle({ ...refused, heldId: null })
    expect(await inspect()).toMatchObject({ remaining: null, pendingCouponIds: [] })
  })

  it('[CPN-3] SETTLED: a grant that never got to Postgres gives its unit and its user back, once', async () => {
    await load(1)
    const grant = await admit(1)
    expect(await issue(2)).toEqual({ outcome: 'SOLD_OUT' })
    expect(await settle({ ...grant, heldId: givenBack })).toBe('SETTLED')
    expect(await settle({ ...grant, heldId: givenBack })).toBe('SETTLED')
    expect(await inspect()).toMatchObject({ remaining: 1, holdersUpTo: 0, pendingCouponIds: [] })
    expect(await issue(1)).toMatchObject({ outcome: 'ADMITTED' })
    expect(await issue(2)).toEqual({ outcome: 'SOLD_OUT' })
  })

  it('[CPN-3, ALL-4] a grant given back late, after another process committed it, keeps its holder and unit', async () => {
    await load(10)
    const grant = await admit(1)
    expect(await settle({ ...grant, heldId: grant.couponId })).toBe('SETTLED')
    expect(await settle({ ...grant, heldId: givenBack })).toBe('SETTLED')
    expect(await inspect()).toMatchObject({ remaining: 9, holdersUpTo: 0, pendingCouponIds: [] })
    expect(await issue(1)).toEqual({ outcome: 'ALREADY_ISSUED', couponId: grant.couponId })
  })

  it('[CPN-3] a grant that comes twice in one call gives its unit back once', async () => {
    await load(3)
    const grant = { ...(await admit(1)), heldId: givenBack }
    expect(await settle(grant, grant)).toBe('SETTLED')
    expect(await inspect()).toMatchObject({ remaining: 3, pendingCouponIds: [] })
  })

  it('[CPN-3, ALL-4] a grant given back twice leaves alone what its user was granted in between', async () => {
    await load(3)
    const first = { ...(await admit(1)), heldId: givenBack }
    await settle(first)
    const second = await admit(1)
    expect(await settle(first)).toBe('SETTLED')
    expect(await inspect()).toMatchObject({ remaining: 2, pendingCouponIds: [second.couponId] })
  })

  it('[CPN-3] a refusal that comes late does not free a user who holds another coupon by now', async () => {
    await load(10)
    const late = await admit(1)
    await harness.redis.set(keys.couponHolder(policyId, 1), randomUUIDv7())
    const holder = await harness.redis.get(keys.couponHolder(policyId, 1))
    await settle({ ...late, heldId: null })
    expect(await harness.redis.get(keys.couponHolder(policyId, 1))).toBe(holder)
  })
})

describe('coupon.load', () => {
  it('[ALL-4] LOADED opens the policy; again, it leaves the quantity that is there', async () => {
    expect(await load(10)).toBe('LOADED')
    await issue(1)
    expect(await load(10)).toBe('LOADED')
    expect((await inspect()).remaining).toBe(9)
  })

  it('[ALL-4] START_OVER when its token is gone or of another loader', async () => {
    const now = await redisNow()
    const policy = {
      total: 1,
      remaining: 1,
      startsAt: now,
      endsAt: now + hour,
      holdersExpireAt: now + day,
      holdersUpTo: 0,
    }
    const loadAs = (loader: string) =>
      harness.deps.scripts.loadPolicy(policyId, { loader, settles: 0 }, policy)
    expect(await loadAs('me')).toBe('START_OVER')
    await harness.redis.hset(keys.couponPolicy(policyId), 'loader', 'another')
    expect(await loadAs('me')).toBe('START_OVER')
    expect((await inspect()).remaining).toBe(null)
    expect(await loadAs('another')).toBe('LOADED')
  })

  it('[ALL-4] READ_AGAIN when a grant was settled since the loader looked', async () => {
    const couponId = randomUUIDv7()
    await settle({ couponId, userId: 1, heldId: couponId })
    expect(await load(10)).toBe('READ_AGAIN')
    expect((await inspect()).remaining).toBe(null)
  })
})

describe('coupon.inspect', () => {
  it('[ALL-4] gives another revision after each admission and each settlement, the same in between', async () => {
    await load(10)
    const revisions = [(await inspect()).revision]
    const grant = await admit(1)
    revisions.push((await inspect()).revision)
    expect((await inspect()).revision).toBe(revisions[1])
    await issue(1)
    expect((await inspect()).revision).toBe(revisions[1])
    await settle({ ...grant, heldId: grant.couponId })
    revisions.push((await inspect()).revision)
    expect(new Set(revisions).size).toBe(3)
  })
})
