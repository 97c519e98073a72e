import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Answer, type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'
import { inParallel, type ServerProcess, startServer } from '../setup/server.ts'

let harness: Harness
let servers: ServerProcess[]
beforeEach(async () => {
  harness = await startHarness()
  servers = []
})
afterEach(async () => {
  await Promise.all(servers.map((server) => server.kill('SIGKILL')))
  await harness.stop()
})

async function start(env: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(harness.on, env)
  servers.push(server)
  return server
}

const users = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)
const pendingCount = (policyId: number) => harness.redis.hlen(keys.couponPending(policyId))
const couponCount = async (policyId: number) =>
  (await harness.sql`select count(*)::int as n from coupons where policy_id = ${policyId}`)[0]?.n

/** Holds the row lock of a policy, so that a commit waits for it. Gives the function that lets go. */
const holdPolicy = (policyId: number) =>
  holding(
    harness,
    (connection) => connection`select 1 from coupon_policies where id = ${policyId} for update`,
  )

describe('a server that is killed with SIGKILL', () => {
  it('[ALL-1, CPN-3] between admit and commit: its grant is committed once by another, within 10 s', async () => {
    const policyId = await harness.policy({ totalQuantity: 10 })
    const first = await start()
    const letGo = await holdPolicy(policyId)
    const lost = first.issue(policyId, 1).catch(() => 'no answer')
    await untilLockIsAwaited(harness, 'commit')
    expect(await pendingCount(policyId)).toBe(1)
    await first.kill('SIGKILL')
    await letGo()
    expect(await lost).toBe('no answer')
    expect(await couponCount(policyId)).toBe(0)

    const second = await start()
    await until('the abandoned grant to be settled', async () => (await pendingCount(policyId)) === 0, 10_000)
    await expectExact(harness, policyId, 1)
    const again = await second.issue(policyId, 1)
    expect(tally([again])).toEqual({ COUPON_ALREADY_ISSUED: 1 })
    expect((await second.issue(policyId, 2)).body.rank).toBe(2)
  })

  it('[ALL-1, CPN-3] between commit and settle: its coupon is there once, and settled within 10 s', async () => {
    const policyId = await harness.policy({ totalQuantity: 10 })
    const first = await start()
    const letGo = await holdPolicy(policyId)
    const lost = first.issue(policyId, 1).catch(() => 'no answer')
    await untilLockIsAwaited(harness, 'commit')
    // Writes to Redis wait from here on, so the settle script of the server does not get through.
    await harness.redis.client('PAUSE', 60_000, 'WRITE')
    await letGo()
    await until('the commit', async () => (await couponCount(policyId)) === 1)
    await first.kill('SIGKILL')
    await harness.redis.client('UNPAUSE')
    expect(await lost).toBe('no answer')
    expect(await pendingCount(policyId)).toBe(1)

    const second = await start()
    await until('the committed grant to be settled', async () => (await pendingCount(policyId)) === 0, 10_000)
    await expectExact(harness, policyId, 1)
    expect(tally([await second.issue(policyId, 1)])).toEqual({ COUPON_ALREADY_ISSUED: 1 })
  })

  it('[ALL-4, CPN-1] while it loads a policy: another opens it within the patience of a call', async () => {
    const policyId = await harness.policy({ totalQuantity: 10 })
    expect((await harness.issue(policyId, 1)).status).toBe(201)
    const server = await start({ ROLES: 'api' })
    await harness.redis.del(keys.couponPolicy(policyId))
    const letGo = await holding(
      harness,
      (connection) => connection`lock table coupons in access exclusive mode`,
    )
    const lost = server.issue(policyId, 2).catch(() => 'no answer')
    await untilLockIsAwaited(harness, 'pool')
    expect(await harness.redis.exists(keys.couponLoadLock(policyId))).toBe(1)
    await server.kill('SIGKILL')
    await letGo()
    expect(await lost).toBe('no answer')
    expect((await harness.issue(policyId, 3)).body.rank).toBe(2)
    await expectExact(harness, policyId, 2)
  })

  it('[ALL-1, CPN-3] in the middle of a run: every 201 that went out is in Postgres, and no unit is lost', async () => {
    const policyId = await harness.policy({ totalQuantity: 400 })
    const first = await start()
    const answers: Answer[] = []
    const run = inParallel(users(600), 64, async (userId) => {
      const answer = await first.issue(policyId, userId).catch(() => undefined)
      if (answer) answers.push(answer)
      if (answers.length === 150) void first.kill('SIGKILL')
    })
    await run
    const second = await start()
    await until('all grants to be settled', async () => (await pendingCount(policyId)) === 0, 10_000)
    const issuedIds = (await harness.sql`select id from coupons where policy_id = ${policyId}`).map(
      ({ id }) => id,
    )
    const promised = answers.filter((answer) => answer.status === 201).map((answer) => answer.body.id)
    expect(promised.filter((id) => !issuedIds.includes(id))).toEqual([])

    const rest = await inParallel(users(600, 10_001), 64, (userId) => second.issue(policyId, userId))
    expect(tally(rest)).toEqual({ 201: 400 - issuedIds.length, COUPON_SOLD_OUT: 200 + issuedIds.length })
    await expectExact(harness, policyId, 400)
  })
})

describe('a server that is stopped with SIGTERM', () => {
  it('[ALL-1] finishes what is under way, answers it, and exits with 0', async () => {
    const policyId = await harness.policy({ totalQuantity: 1000 })
    const server = await start()
    const letGo = await holdPolicy(policyId)
    const underWay = users(20).map((userId) => server.issue(policyId, userId))
    await until('the grants', async () => (await pendingCount(policyId)) === 20)
    const stopped = server.kill('SIGTERM')
    await until('the stop to begin', async () =>
      server.lines.some((line) => line.includes('"msg":"stopping"')),
    )
    await letGo()
    expect(tally(await Promise.all(underWay))).toEqual({ 201: 20 })
    expect(await stopped).toEqual({ code: 0, signal: null })
    await expectExact(harness, policyId, 20)
  })
})

describe('Redis that is flushed in the middle of a run', () => {
  it('[ALL-4, CPN-3] never more than the total, one a user, and the right quantity in the end', async () => {
    const policyId = await harness.policy({ totalQuantity: 1000 })
    const server = await start()
    let answered = 0
    const answers = await inParallel(users(1500), 100, async (userId) => {
      const answer = await untilDecided(() => server.issue(policyId, userId))
      answered++
      if (answered === 300 || answered === 700 || answered === 1200) await harness.redis.flushdb()
      return answer
    })
    // A caller whose first answer was lost in the flush finds its coupon on asking again.
    const holders = answers.filter(
      ({ status, body }) => status === 201 || body.code === 'COUPON_ALREADY_ISSUED',
    )
    expect(holders.length).toBe(1000)
    expect(answers.filter(({ body }) => body.code === 'COUPON_SOLD_OUT').length).toBe(500)
    await until('the settlements', async () => (await pendingCount(policyId)) === 0)
    await expectExact(harness, policyId, 1000)
  })
})

describe('two server processes on the same stores', () => {
  it('[CPN-1, CPN-3, CPN-4] are together as exact as one', async () => {
    const policyId = await harness.policy({ totalQuantity: 500 })
    const pair = [await start(), await start()]
    const answers = await inParallel(users(3000), 256, (userId) =>
      (pair[userId % 2] as ServerProcess).issue(policyId, userId),
    )
    expect(tally(answers)).toEqual({ 201: 500, COUPON_SOLD_OUT: 2500 })
    const ranks = answers.filter(({ status }) => status === 201).map(({ body }) => body.rank)
    expect(ranks.sort((a, b) => a - b)).toEqual(users(500))

    const repeats = await inParallel(users(50), 50, (call) =>
      (pair[call % 2] as ServerProcess).issue(policyId, 9_999),
    )
    expect(tally(repeats)).toEqual({ COUPON_SOLD_OUT: 50 })
    await expectExact(harness, policyId, 500)
  })

  it('[CPN-3] give one coupon to a user who calls both at once', async () => {
    const policyId = await harness.policy({ totalQuantity: 500 })
    const pair = [await start(), await start()]
    const answers = await inParallel(users(50), 50, (call) =>
      (pair[call % 2] as ServerProcess).issue(policyId, 1),
    )
    expect(tally(answers)).toEqual({ 201: 1, COUPON_ALREADY_ISSUED: 49 })
    await expectExact(harness, policyId, 1)
  })
})

/** Repeats a call as a client would while the answer is 503: repeating is safe. */
async function untilDecided(call: () => Promise<Answer>): Promise<Answer> {
  return until('a decided answer', async () => {
    const answer = await call()
    return answer.status === 503 ? undefined : answer
  })
}
