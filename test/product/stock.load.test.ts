import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createStockLoader } from '../../src/product/stock.load.ts'
import { keys } from '../../src/redis/keys.ts'
import { changingNothing } from '../setup/contents.ts'
import { gated } from '../setup/gate.ts'
import { type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { stockEntryText } from '../setup/pending.ts'

let aheadMs = 0
let harness: Harness
let productId: number
let userId = 0
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => Date.now() + aheadMs } })
})
afterAll(() => harness.stop())
beforeEach(async () => {
  userId++
  productId = await harness.product({ price: 1, stock: 10 })
  await harness.charge(userId, 10_000)
})

const shard = 0
const stockOf = async (id = productId) => (await harness.get(`/v1/products/${id}`)).body.stock
const forget = (...ids: number[]) => harness.redis.hdel(keys.stockAvailable(shard), ...ids.map(String))
/** Empties Redis, and lets pass the second for which a process believes the ranking that it read. */
const flush = () => {
  aheadMs += 1000
  return harness.redis.flushdb()
}
const pending = () => harness.redis.hlen(keys.stockPending(shard))
const order = (quantity: number) => ({ userId, items: [{ productId, quantity }] })
const postgresStock = async () =>
  (await harness.sql`select stock from products where id = ${productId}`)[0]?.stock
const orderPaid = async (quantity: number): Promise<string> =>
  (await harness.post('/v1/orders', order(quantity))).body.id

type Gated = ReturnType<typeof gated>
/** What changes the stock of 10, of which 4 are sold, and the stock in Postgres before and after it. */
const changes = {
  reservation: { post: (held: Gated) => held.post('/v1/orders', order(3)), before: 6, after: 3 },
  cancellation: {
    post: async (held: Gated, sold: string) => held.post(`/v1/orders/${sold}/cancel`),
    before: 6,
    after: 10,
  },
  restock: {
    post: (held: Gated) => held.post(`/v1/admin/products/${productId}/restock`, { quantity: 5 }),
    before: 6,
    after: 11,
  },
}
const kinds = Object.keys(changes) as (keyof typeof changes)[]

/** Starts a change and holds it at the gate: announced in Redis and not committed, or committed and not settled. */
async function holdAt(step: 'commit' | 'settle', kind: keyof typeof changes) {
  const sold = await orderPaid(4)
  const held = gated(harness, step)
  const { post, before, after } = changes[kind]
  const answer = post(held, sold)
  await until('the entry', async () => (await pending()) === 1)
  if (step === 'settle') await until('the commit', async () => (await postgresStock()) === after)
  return { before, after, answer, open: held.open, sold }
}

/** A loader with something happening at an instant of its first attempt. Tells which products its writes left out. */
function loaderWith(moment: 'before its snapshot' | 'before its write', happening: () => Promise<unknown>) {
  const { scripts } = harness.deps
  const left: number[][] = []
  let happened: unknown
  const once = () => (happened ??= happening())
  const loader = createStockLoader({
    ...harness.deps,
    shards: 1,
    scripts: {
      ...scripts,
      async inspectStock(...args) {
        const seen = await scripts.inspectStock(...args)
        if (moment === 'before its snapshot') await once()
        return seen
      },
      async loadStock(...args) {
        if (moment === 'before its write') await once()
        const late = await scripts.loadStock(...args)
        left.push(late)
        return late
      },
    },
  })
  return { load: loader.load, left }
}

describe('what is pending', () => {
  it.each(kinds)('[ALL-4, PRD-2] a %s that is not committed is counted right by a load', async (kind) => {
    const { answer, open } = await holdAt('commit', kind)
    await forget(productId)
    expect(await stockOf()).toBe(kind === 'reservation' ? 3 : 6)
    open()
    expect((await answer).status).toBeLessThan(300)
    expect(await stockOf()).toBe(changes[kind].after)
    await expectConsistent(harness)
  })

  it.each(kinds)('[ALL-4, PRD-2] a %s that is committed and not settled is counted once', async (kind) => {
    const { answer, open } = await holdAt('settle', kind)
    await forget(productId)
    // What is on its way back reaches Redis when it is settled.
    expect(await stockOf()).toBe(kind === 'reservation' ? 3 : 6)
    open()
    expect((await answer).status).toBeLessThan(300)
    expect(await stockOf()).toBe(changes[kind].after)
    await expectConsistent(harness)
  })

  it('[ALL-4] more reservations than units, as an old copy of Redis may have, show 0, and none too many when given back', async () => {
    for (const quantity of [6, 7]) {
      const id = harness.deps.newId()
      const lines = [{ productId, quantity }]
      const entry = stockEntryText({ kind: 'reserve', orderId: id, lines }, Date.now())
      await harness.redis.hset(keys.stockPending(shard), id, entry)
    }
    await forget(productId)
    expect(await stockOf()).toBe(0)
    expect((await harness.order(userId, productId)).body).toMatchObject({
      code: 'STOCK_INSUFFICIENT',
      available: 0,
    })
    for (const recovery of harness.recoveries) await recovery.finishAbandoned(-2000)
    expect(await stockOf()).toBe(10)
    await expectConsistent(harness)
  })
})

describe('loading while orders run', () => {
  it('[ALL-4] after a flush brings back every product for many callers at once', async () => {
    await orderPaid(3)
    const other = await harness.product({ price: 1, stock: 7 })
    await flush()
    const calls = Array.from({ length: 40 }, (_, n) =>
      harness.order(userId, [
        { productId: n % 2 ? productId : other, quantity: 1 },
        { productId: n % 2 ? other : productId, quantity: 1 },
      ]),
    )
    expect(tally(await Promise.all(calls))).toEqual({ 201: 7, STOCK_INSUFFICIENT: 33 })
    expect([await stockOf(), await stockOf(other)]).toEqual([0, 0])
    await expectConsistent(harness)
  })

  it.each(kinds)('[ALL-4, PRD-2] a %s settled right before its write makes it start over', async (kind) => {
    const { answer, open, after } = await holdAt('settle', kind)
    await forget(productId)
    const { load, left } = loaderWith('before its write', () => {
      open()
      return answer
    })
    expect(await load([productId])).toEqual([])
    expect(left).toEqual([[productId], []])
    expect(await stockOf()).toBe(after)
    await expectConsistent(harness)
  })

  it('[ALL-4, PRD-2] a reservation given back right before its write makes it start over', async () => {
    const { answer, open } = await holdAt('commit', 'reservation')
    await harness.order(userId, await harness.product({ price: 9994 }))
    await forget(productId)
    const { load, left } = loaderWith('before its write', () => {
      open()
      return answer
    })
    await load([productId])
    expect(tally([await answer])).toEqual({ INSUFFICIENT_BALANCE: 1 })
    expect(left).toEqual([[productId], []])
    expect(await stockOf()).toBe(6)
  })

  it.each(kinds.filter((kind) => kind !== 'reservation'))(
    '[ALL-4, PRD-2] a %s announced and committed between its looks at the two stores is counted once',
    async (kind) => {
      const sold = await orderPaid(4)
      await forget(productId)
      const held = gated(harness, 'settle')
      let answer: Promise<unknown> | undefined
      const { load } = loaderWith('before its snapshot', () => {
        answer = changes[kind].post(held, sold)
        return until('the commit', async () => (await postgresStock()) === changes[kind].after)
      })
      await load([productId])
      held.open()
      await answer
      expect(await stockOf()).toBe(changes[kind].after)
      await expectConsistent(harness)
    },
  )

  it.each(['before its snapshot', 'before its write'] as const)(
    '[ALL-4] a flush %s makes it start over',
    async (moment) => {
      const { answer, open } = await holdAt('commit', 'reservation')
      await forget(productId)
      const { load, left } = loaderWith(moment, flush)
      await load([productId])
      expect(left).toEqual([[productId], []])
      // The entry is gone with the flush: this order is the one that Postgres decides alone.
      expect(await stockOf()).toBe(6)
      open()
      expect((await answer).status).toBe(201)
      expect(await stockOf()).toBe(3)
      await expectConsistent(harness)
    },
  )

  it('[ALL-4] flushes at any moment of a load', async () => {
    await orderPaid(4)
    for (let round = 0; round < 12; round++) {
      await flush()
      const shown = stockOf()
      for (let turn = 0; turn < round; turn++) await harness.redis.ping()
      await flush()
      expect(await shown).toBe(6)
      expect(await stockOf()).toBe(6)
    }
    await expectConsistent(harness)
  })

  it('[ALL-4] loaders of several processes do not keep each other from ending', async () => {
    const attempts: number[] = []
    const loads = [0, 1, 2, 3].map(async (n) => {
      const { scripts } = harness.deps
      let attempt = 0
      const { load } = createStockLoader({
        ...harness.deps,
        shards: 1,
        scripts: {
          ...scripts,
          async inspectStock(...args) {
            attempt++
            const seen = await scripts.inspectStock(...args)
            await pause(40)
            return seen
          },
        },
      })
      await pause(10 * n)
      expect(await load([productId])).toEqual([])
      attempts.push(attempt)
    })
    await forget(productId)
    await Promise.all(loads)
    expect(Math.max(...attempts)).toBeLessThanOrEqual(2)
    await expectConsistent(harness)
  })

  it('[ALL-4, ALL-3] products that do not exist are named, and leave nothing behind', async () => {
    const loader = createStockLoader({ ...harness.deps, shards: 1 })
    await changingNothing(harness, async () => {
      expect(await loader.load([987_654_321, productId, 987_654_322])).toEqual([987_654_321, 987_654_322])
      expect(await loader.load([987_654_321])).toEqual([987_654_321])
    })
    await forget(productId)
    expect(await loader.load([productId, 987_654_321])).toEqual([987_654_321])
    expect(await harness.redis.exists(keys.stockLoading(shard))).toBe(0)
    expect(await stockOf()).toBe(10)
  })
})
