import { Cluster } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Answer, createDatabase, type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { seeded } from '../setup/random.ts'
import { type RedisCluster, startRedisCluster } from '../setup/redis-cluster.ts'
import { inParallel, type ServerProcess, startServer } from '../setup/server.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`cluster failover seed: TEST_SEED=${seed}`)

// Six servers of Redis, and a Node that starts before each test, on a machine that may be slow.
vi.setConfig({ testTimeout: 150_000, hookTimeout: 120_000 })

const decidedWithinMs = 40_000
const healedWithinMs = 30_000
const shards = 3

let cluster: RedisCluster
let database: Awaited<ReturnType<typeof createDatabase>>
let harness: Harness
let server: ServerProcess
beforeAll(async () => {
  cluster = await startRedisCluster()
})
afterAll(() => cluster?.remove())
beforeEach(async () => {
  await cluster.flush()
  database = await createDatabase(inject('databaseUrl'))
  const on = { database: database.url, redis: cluster.url }
  harness = await startHarness({ on, env: { STOCK_SHARDS: String(shards) } })
  server = await startServer(on, {
    STOCK_SHARDS: String(shards),
  })
})
afterEach(async () => {
  await server?.kill('SIGKILL')
  await harness?.stop()
  await database?.drop()
})

const users = (count: number) => Array.from({ length: count }, (_, index) => 1 + index)

/** Repeats a call as a client would, while the answer is 503 with the time to come again. */
function untilDecided(call: () => Promise<Answer>): Promise<Answer> {
  return until(
    'a decided answer',
    async () => {
      const answer = await call()
      if (answer.status === 503) expect(answer.headers.get('Retry-After')).toBe('1')
      return answer.status === 503 || answer.body.code === 'IDEMPOTENCY_IN_PROGRESS' ? undefined : answer
    },
    decidedWithinMs,
  )
}

/**
 * All call, and at a moment that the seed picks the master that serves `key` is killed; the run goes on until every
 * call is decided by the replica that took over. With `behind`, that one lacks what was written last.
 */
async function throughFailover(
  state: 'in step' | 'behind',
  key: string,
  count: number,
  call: (userId: number) => Promise<Answer>,
): Promise<Answer[]> {
  const random = seeded(seed)
  const cutAt = 20 + random.below(count / 4)
  const killAt = cutAt + 1 + random.below(count / 4)
  let answered = 0
  let happening: Promise<void> = Promise.resolve()
  const answers = await inParallel(users(count), 16, async (userId) => {
    const answer = await untilDecided(() => call(userId))
    answered++
    if (answered === cutAt && state === 'behind') happening = cluster.cutReplicaOf(key)
    if (answered === killAt) {
      happening = happening.then(async () => {
        const failover = await cluster.killMasterOf(key)
        await failover.promoted()
        await failover.revive()
      })
    }
    return answer
  })
  await happening
  await learnSlots()
  return answers
}

/** Has the client of the test ask the cluster who serves what now: the servers learn it on their way, by 503s. */
async function learnSlots(): Promise<void> {
  const { redis } = harness
  if (!(redis instanceof Cluster)) throw new Error('not a cluster')
  await new Promise<void>((resolve, reject) => {
    redis.refreshSlotsCache((error) => (error ? reject(error) : resolve()))
  })
}

/** Waits until the audit finds nothing wrong in either store and nothing waits; what is left then is repaired. */
async function expectCleanAfterRepair(): Promise<void> {
  await until(
    'nothing to be pending',
    async () => {
      const looks = await Promise.all(
        users(shards).map((n) => harness.deps.scripts.lookAtPending(keys.stockPending(n - 1), 0, 1)),
      )
      return looks.every(({ length }) => length === 0)
    },
    healedWithinMs,
  )
  const verdict = await harness.audit.run({ repair: true })
  expect(verdict.rules.filter(({ violated }) => violated > 0)).toEqual([])
}

it('[ALL-1, CPN-1, CPN-3] a slot that moves to another master in the middle of a run loses and doubles nothing', async () => {
  const total = 200
  const policyIds = [
    await harness.policy({ totalQuantity: total }),
    await harness.policy({ totalQuantity: total }),
  ]
  const key = keys.couponPolicy(policyIds[0] as number)
  let answered = 0
  let moving: Promise<void> = Promise.resolve()
  const answers = await inParallel(users(600), 16, async (userId) => {
    const answer = await untilDecided(() => server.issue(policyIds[userId % 2] as number, userId))
    if (++answered === 100) moving = cluster.moveSlotOf(key)
    return answer
  })
  await moving
  await learnSlots()
  // A caller whose first answer was 503 may hold the coupon already.
  const held = answers.filter(({ status, body }) => status === 201 || body.code === 'COUPON_ALREADY_ISSUED')
  expect([held.length, tally(answers).COUPON_SOLD_OUT]).toEqual([2 * total, 600 - 2 * total])
  await expectCleanAfterRepair()
  for (const policyId of policyIds) await expectExact(harness, policyId, total)
})

describe.each(['in step', 'behind'] as const)(
  'a replica that is %s takes over from its killed master',
  (state) => {
    it('[ALL-1, ALL-4, ORD-2, ORD-4, PRD-4] orders: none oversold, and every 201 is in Postgres', async () => {
      const units = 200
      const productIds: number[] = []
      for (let n = 0; n < 2 * shards; n++)
        productIds.push(await harness.product({ stock: n === 0 ? units : 500, price: 1000 }))
      const [scarce, ...others] = productIds as [number, ...number[]]
      const buyers = 300
      await inParallel(users(buyers), 50, (userId) => harness.charge(userId, 100_000))
      const answers = await throughFailover(state, keys.stockAvailable(scarce % shards), buyers, (userId) => {
        const second = others[userId % others.length] as number
        const items = [scarce, second].map((productId) => ({ productId, quantity: 1 }))
        return server.post('/v1/orders', { userId, items }, { 'Idempotency-Key': `order of ${userId}` })
      })
      const counts = tally(answers)
      const paid = counts[201] ?? 0
      expect(counts).toEqual({ 201: paid, STOCK_INSUFFICIENT: buyers - paid })
      expect(paid).toBeLessThanOrEqual(units)
      const promised = answers.filter(({ status }) => status === 201).map(({ body }) => body.id)
      const kept = (await harness.sql`select id from orders where status = 'PAID'`).map(({ id }) => id)
      expect(kept.sort()).toEqual(promised.sort())

      await expectCleanAfterRepair()
      await expectConsistent(harness)
      const late = await Promise.all(users(units - paid + 1).map((userId) => harness.order(userId, scarce)))
      expect(tally(late)).toEqual({ ...(paid < units ? { 201: units - paid } : {}), STOCK_INSUFFICIENT: 1 })
    })

    it('[ALL-1, ALL-4, CPN-1, CPN-3] coupons: none issued twice, and every 201 is in Postgres', async () => {
      const total = 200
      const policyIds: number[] = []
      for (let n = 0; n < 3; n++) policyIds.push(await harness.policy({ totalQuantity: total }))
      const callers = 900
      const answers = await throughFailover(
        state,
        keys.couponPolicy(policyIds[0] as number),
        callers,
        (userId) => server.issue(policyIds[userId % 3] as number, userId),
      )
      // A caller whose first answer was lost finds its coupon on asking again.
      const held = answers.filter(
        ({ status, body }) => status === 201 || body.code === 'COUPON_ALREADY_ISSUED',
      )
      expect(held.length).toBe(3 * total)
      expect(answers.filter(({ body }) => body.code === 'COUPON_SOLD_OUT').length).toBe(callers - 3 * total)
      const promised = held.map(({ body }) => body.couponId ?? body.id)
      const kept = (await harness.sql`select id from coupons`).map(({ id }) => id)
      expect(kept.sort()).toEqual(promised.sort())

      await until(
        'nothing to be pending',
        async () => {
          const looks = await Promise.all(
            policyIds.map((id) => harness.deps.scripts.lookAtPending(keys.couponPending(id), 0, 1)),
          )
          return looks.every(({ length }) => length === 0)
        },
        healedWithinMs,
      )
      await expectCleanAfterRepair()
      for (const policyId of policyIds) await expectExact(harness, policyId, total)
    })
  },
)
