import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { seoulDay } from '../../src/product/product.ts'
import { keys } from '../../src/redis/keys.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { stockEntryText } from '../setup/pending.ts'
import { brokenOf, runSale, type Sale } from './sale.ts'

let harness: Harness
let sale: Sale
let shardOf: (productId: number) => number
afterEach(() => harness.stop())

const strangerId = '01890000-0000-7000-8000-00000000000a'
const today = () => seoulDay(new Date())

interface Break {
  rule: string
  violated: number
  /** what the verdict says of the first violation */
  shown: Record<string, unknown>
  /** the change that the repair lists, or none where it is not for the audit to repair */
  change?: { key: string; from: string | number | null; to: string | number | null }
  tamper(): Promise<unknown>
}

/** What is broken in Redis; each breaks its rule and no other. */
const breaks: Record<string, () => Promise<Break>> = {
  'PRD-2 units too many': async () => {
    const key = keys.stockAvailable(shardOf(sale.productId))
    const units = Number(await harness.redis.hget(key, String(sale.productId)))
    return {
      rule: 'redis-stock',
      violated: 1,
      shown: { productId: sale.productId, redis: units + 3, postgres: units },
      change: { key: `${key} ${sale.productId}`, from: units + 3, to: units },
      tamper: () => harness.redis.hincrby(key, String(sale.productId), 3),
    }
  },
  'CPN-3 a quantity too small': async () => ({
    rule: 'redis-coupons',
    violated: 1,
    shown: { policyId: sale.policyId, redis: 10, postgres: 12 },
    change: { key: keys.couponPolicy(sale.policyId), from: 10, to: 12 },
    tamper: () => harness.redis.hincrby(keys.couponPolicy(sale.policyId), 'remaining', -2),
  }),
  ...Object.fromEntries(
    ['total', 'startsAt', 'endsAt'].map((field, place) => [
      `CPN-2 another ${field}`,
      async (): Promise<Break> => {
        const key = keys.couponPolicy(sale.policyId)
        const terms = await harness.redis.hmget(key, 'total', 'startsAt', 'endsAt')
        const wrong = terms.with(place, '1').join(' ')
        return {
          rule: 'redis-coupons',
          violated: 1,
          shown: { policyId: sale.policyId, what: 'terms', redis: wrong, postgres: terms.join(' ') },
          change: { key, from: wrong, to: terms.join(' ') },
          tamper: () => harness.redis.hset(key, field, 1),
        }
      },
    ]),
  ),
  'CPN-2 an end of issue that is lost': async () => {
    const key = keys.couponPolicy(sale.policyId)
    const [total, startsAt, endsAt] = await harness.redis.hmget(key, 'total', 'startsAt', 'endsAt')
    const [from, to] = [`${total} ${startsAt} none`, `${total} ${startsAt} ${endsAt}`]
    return {
      rule: 'redis-coupons',
      violated: 1,
      shown: { policyId: sale.policyId, what: 'terms', redis: from, postgres: to },
      change: { key, from, to },
      tamper: () => harness.redis.hdel(key, 'endsAt'),
    }
  },
  'CPN-3 a holder that is missing': async () => {
    const key = keys.couponHolder(sale.policyId, 3)
    const couponId = await harness.redis.get(key)
    return {
      rule: 'redis-holders',
      violated: 1,
      shown: { policyId: sale.policyId, userId: 3, redis: null, postgres: couponId },
      change: { key, from: null, to: couponId },
      tamper: () => harness.redis.del(key),
    }
  },
  'CPN-3 a holder with the coupon of another': async () => {
    const key = keys.couponHolder(sale.policyId, 3)
    const couponId = await harness.redis.get(key)
    return {
      rule: 'redis-holders',
      violated: 1,
      shown: { userId: 3, redis: strangerId, postgres: couponId },
      change: { key, from: strangerId, to: couponId },
      tamper: () => harness.redis.set(key, strangerId),
    }
  },
  'CPN-3 a holder without a coupon': async () => ({
    rule: 'redis-holders-true',
    violated: 1,
    shown: { policyId: sale.policyId, userId: 99, redis: strangerId, postgres: null },
    change: { key: keys.couponHolder(sale.policyId, 99), from: strangerId, to: null },
    tamper: () => harness.redis.set(keys.couponHolder(sale.policyId, 99), strangerId),
  }),
  'PRD-6 sales of a day': async () => {
    const key = keys.stockSales(shardOf(sale.otherId), today())
    return {
      rule: 'redis-sales',
      violated: 1,
      shown: { productId: sale.otherId, redis: 11, postgres: 4 },
      change: { key: `${key} ${sale.otherId}`, from: 11, to: 4 },
      tamper: () => harness.redis.zincrby(key, 7, String(sale.otherId)),
    }
  },
  'PRD-6 a product missing in the sales of a day': async () => {
    const key = keys.stockSales(shardOf(sale.otherId), today())
    return {
      rule: 'redis-sales',
      violated: 1,
      shown: { productId: sale.otherId, redis: 0, postgres: 4 },
      change: { key: `${key} ${sale.otherId}`, from: 0, to: 4 },
      tamper: () => harness.redis.zrem(key, String(sale.otherId)),
    }
  },
  'an entry that nobody takes up': async () => ({
    rule: 'redis-pending',
    violated: 1,
    shown: { key: keys.stockPending(shardOf(sale.productId)) },
    tamper: async () => {
      const [seconds] = await harness.redis.time()
      const lines = [{ productId: sale.productId, quantity: 1 }]
      const entry = stockEntryText({ kind: 'restock', orderId: '', lines }, (Number(seconds) - 400) * 1000)
      await harness.redis.hset(keys.stockPending(shardOf(sale.productId)), strangerId, entry)
    },
  }),
}

describe.each(['1', '3'])('the audit of Redis, shards: %s', (shards) => {
  beforeEach(async () => {
    harness = await startHarness({ env: { STOCK_SHARDS: shards } })
    shardOf = (productId) => productId % Number(shards)
    sale = await runSale(harness)
  })

  it.each(Object.keys(breaks))('[ALL-4] %s: reported, and nothing else; repaired; clean', async (name) => {
    const { rule, violated, shown, change, tamper } = await (breaks[name] as () => Promise<Break>)()
    await tamper()
    const found = await harness.audit.run()
    expect(brokenOf(found)).toEqual({ [rule]: violated })
    expect(found).toMatchObject({ ok: false, changes: [] })
    expect(found.rules.find((each) => each.rule === rule)?.violations[0]).toMatchObject(shown)

    const repaired = await harness.audit.run({ repair: true })
    expect(repaired.ok).toBe(change !== undefined)
    expect(repaired.changes).toMatchObject(change ? [change] : [])
    const after = await harness.audit.run()
    expect(after).toMatchObject({ ok: change !== undefined, changes: [] })
  })

  it('[ALL-4] what is pending is no drift: a reservation, a cancellation and a grant on their way', async () => {
    const { scripts } = harness.deps
    await scripts.reserveStock(shardOf(sale.productId), strangerId, [
      { productId: sale.productId, quantity: 3 },
    ])
    await scripts.issueCoupon(sale.policyId, 50, strangerId)
    // Committed, and not settled yet.
    const [orderId] = sale.paid as [string]
    const id = '01890000-0000-7000-8000-00000000000b'
    const lines = [
      { productId: sale.productId, quantity: 2 },
      { productId: sale.otherId, quantity: 1 },
    ]
    for (const shard of new Set(lines.map(({ productId }) => shardOf(productId)))) {
      const own = lines.filter(({ productId }) => shardOf(productId) === shard)
      await scripts.announceStock(shard, { kind: 'cancel', id, orderId, lines: own })
    }
    await harness.sql`update orders set status = 'CANCELED', canceled_at = now(), cancellation_id = ${id}
      where id = ${orderId}`
    for (const { productId, quantity } of lines) {
      await harness.sql`update products set stock = stock + ${quantity} where id = ${productId}`
    }
    // In Postgres the money was not given back; Redis has nothing wrong.
    const broken = Object.keys(brokenOf(await harness.audit.run()))
    expect(broken.filter((rule) => rule.startsWith('redis-'))).toEqual([])
  })

  it('[ALL-4] what Redis has lost altogether is no drift, as it is loaded when it is asked for', async () => {
    await harness.redis.flushdb()
    expect(await harness.audit.run({ repair: true })).toMatchObject({ ok: true, changes: [] })
  })
})
