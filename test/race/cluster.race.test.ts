import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { mastersOf } from '../../src/redis/client.ts'
import { keys } from '../../src/redis/keys.ts'
import { allKeys } from '../setup/all-keys.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { createDatabase, type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { seeded } from '../setup/random.ts'
import { type RedisCluster, startRedisCluster } from '../setup/redis-cluster.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`cluster race seed: TEST_SEED=${seed}`)

let cluster: RedisCluster
let database: Awaited<ReturnType<typeof createDatabase>>
let harness: Harness
beforeAll(async () => {
  cluster = await startRedisCluster()
})
afterAll(() => cluster?.remove())
beforeEach(async () => {
  await cluster.flush()
  database = await createDatabase(inject('databaseUrl'))
  const env = { STOCK_SHARDS: '3', RATE_LIMIT_REQUESTS: '100000' }
  harness = await startHarness({ on: { database: database.url, redis: cluster.url }, env })
})
afterEach(async () => {
  await harness.stop()
  await database.drop()
})

const users = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)

async function expectClean(): Promise<void> {
  const verdict = await harness.audit.run()
  expect(verdict.rules.filter(({ violated }) => violated > 0)).toEqual([])
}

describe('on a Redis Cluster of three masters', () => {
  it('[CPN-1, CPN-3, CPN-4] 3,000 calls for 500 coupons of five policies: exactly 500, ranks without gaps', async () => {
    const policyIds: number[] = []
    for (let n = 0; n < 5; n++) policyIds.push(await harness.policy({ totalQuantity: 100 }))
    const calls = users(600).flatMap((userId) => policyIds.map((policyId) => harness.issue(policyId, userId)))
    expect(tally(await Promise.all(calls))).toEqual({ 201: 500, COUPON_SOLD_OUT: 2500 })
    for (const policyId of policyIds) await expectExact(harness, policyId, 100)
    const masters = await Promise.all(mastersOf(harness.redis).map((master) => master.dbsize()))
    expect(masters.length).toBe(3)
    for (const size of masters) expect(size).toBeGreaterThan(0)
    await expectClean()
  })

  it('[CPN-3, ALL-1] a user who calls 50 times at once has one coupon', async () => {
    const policyId = await harness.policy()
    const answers = await Promise.all(users(50).map(() => harness.issue(policyId, 7)))
    expect(tally(answers)).toEqual({ 201: 1, COUPON_ALREADY_ISSUED: 49 })
    await expectExact(harness, policyId, 1)
  })

  it('[ORD-1, ORD-2, PRD-4, PRD-5] 1,000 orders for 300 units: 300 PAID, 700 refused, nothing left', async () => {
    const productId = await harness.product({ stock: 300, price: 10_000 })
    await Promise.all(users(1000).map((userId) => harness.charge(userId, 10_000)))
    const answers = await Promise.all(users(1000).map((userId) => harness.order(userId, productId)))
    expect(tally(answers)).toEqual({ 201: 300, STOCK_INSUFFICIENT: 700 })
    expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(0)
    await expectConsistent(harness)
    await expectClean()
  })

  it('[ORD-2, ORD-6, PRD-6, ALL-2] orders over shards of several masters: all or nothing, ranked, once a key', async () => {
    const random = seeded(seed)
    const productIds: number[] = []
    for (let n = 0; n < 6; n++) productIds.push(await harness.product({ stock: 60, price: 100 + n }))
    await Promise.all(users(40).map((userId) => harness.charge(userId, 1_000_000)))
    const answers = await Promise.all(
      users(400).map(async (n) => {
        const lines = random
          .shuffle(productIds)
          .slice(0, 2 + random.below(4))
          .map((productId) => ({ productId, quantity: 1 + random.below(3) }))
        const isCanceled = random.below(4) === 0
        const place = () => harness.order(1 + (n % 40), lines, { key: `order ${n}` })
        const [first, second] = await Promise.all([place(), place()])
        // A refusal is judged anew, and units may have come back by then; what was ordered is the same order.
        if (first.status === 201 && second.status === 201) expect(second.body).toEqual(first.body)
        const ordered = first.status === 201 ? first : second
        if (ordered.status === 201 && isCanceled) await harness.cancel(ordered.body.id)
        return ordered
      }),
    )
    expect(Object.keys(tally(answers)).sort()).toEqual(['201', 'STOCK_INSUFFICIENT'])
    await expectConsistent(harness)
    const sold = await harness.sql`select product_id as id, sum(quantity)::int as n from order_items
      join orders on orders.id = order_id where status = 'PAID' group by 1 order by 2 desc, 1 limit 5`
    const { items } = (await harness.get('/v1/products/popular')).body
    const shown = items.map((item: { productId: number; soldQuantity: number }) => [
      item.productId,
      item.soldQuantity,
    ])
    expect(shown).toEqual(sold.map(({ id, n }) => [id, n]))
    await expectClean()
  })

  it('[ALL-4, CPN-3, PRD-2] a flush of every node is made good by warming up; what was changed by hand, by a repair', async () => {
    const policyIds = await Promise.all(users(4).map(() => harness.policy({ totalQuantity: 20 })))
    const productIds = await Promise.all(users(6).map(() => harness.product({ stock: 10 })))
    for (const policyId of policyIds)
      await Promise.all(users(15).map((userId) => harness.issue(policyId, userId)))
    await harness.charge(1, 100_000)
    await harness.order(
      1,
      productIds.map((productId) => ({ productId, quantity: 2 })),
    )
    await cluster.flush()
    expect(await allKeys(harness.redis, '*')).toEqual([])
    expect(await harness.warm()).toMatchObject({ policies: 4, holders: 60, products: 6 })
    for (const policyId of policyIds) await expectExact(harness, policyId, 15)
    await expectConsistent(harness)
    await expectClean()

    for (const policyId of policyIds) {
      await harness.redis.hset(keys.couponPolicy(policyId), 'remaining', 9)
      await harness.redis.set(keys.couponHolder(policyId, 99), crypto.randomUUID())
    }
    for (const shard of users(3, 0))
      await harness.redis.hincrby(keys.stockAvailable(shard), String(productIds[shard]), 3)
    const broken = await harness.audit.run()
    const violated = broken.rules
      .filter((rule) => rule.violated > 0)
      .map(({ rule, violated: n }) => [rule, n])
    expect(Object.fromEntries(violated)).toMatchObject({ 'redis-coupons': 4, 'redis-holders-true': 4 })
    expect(broken.ok).toBe(false)
    expect((await harness.audit.run({ repair: true })).ok).toBe(true)
    await expectClean()
  })
})
