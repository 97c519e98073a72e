import { randomUUIDv7 } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import type { Line, StockSettlement } from '../../src/redis/stock-scripts.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

/** A shard of its own for each test. */
let shard = 1_000_000
let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())
beforeEach(() => {
  shard++
})

const day = 86_400_000
const line = (productId: number, quantity = 1): Line => ({ productId, quantity })

const tokens = () => harness.redis.hgetall(keys.stockLoading(shard))
const announceLoading = (...productIds: number[]) =>
  harness.redis.hset(
    keys.stockLoading(shard),
    Object.fromEntries(productIds.map((productId) => [productId, `token of ${productId}`])),
  )
/** Loads units by product id. Gives the products that were left out. */
async function load(units: Record<number, number>, tokenOf = (productId: number) => `token of ${productId}`) {
  const products = Object.entries(units).map(([id, count]) => ({
    productId: Number(id),
    token: tokenOf(Number(id)),
    units: count,
  }))
  return harness.deps.scripts.loadStock(shard, products)
}
async function stock(units: Record<number, number>) {
  await announceLoading(...Object.keys(units).map(Number))
  expect(await load(units)).toEqual([])
}

const reserve = (lines: Line[], orderId: string = randomUUIDv7()) =>
  harness.deps.scripts.reserveStock(shard, orderId, lines)
/** Reserves, and gives the entry. */
async function take(lines: Line[], orderId: string = randomUUIDv7()) {
  const outcome = await reserve(lines, orderId)
  if (outcome.outcome !== 'RESERVED') throw new Error(`not reserved: ${outcome.outcome}`)
  return { id: orderId, lines }
}
/** Announces, and gives the entry. */
async function announce(
  kind: 'cancel' | 'restock',
  lines: Line[],
  id: string = randomUUIDv7(),
  orderId = '',
) {
  await harness.deps.scripts.announceStock(shard, { kind, id, orderId, lines })
  return { id, lines }
}
const inspect = (...productIds: number[]) => harness.deps.scripts.inspectStock(shard, productIds)
const unitsOf = async (...productIds: number[]) => (await inspect(...productIds)).units
const settle = (...settlements: (Partial<StockSettlement> & { id: string; lines: Line[] })[]) =>
  harness.deps.scripts.settleStock(
    shard,
    settlements.map((each) => ({ committed: true, units: 'keep', sold: null, ...each })),
  )
const sold = (on: string, sign: 1 | -1 = 1) => ({ day: on, sign })
const salesOf = (on: string) => harness.redis.zrange(keys.stockSales(shard, on), '0', '-1', 'WITHSCORES')

describe('stock.reserve', () => {
  it('[ORD-2, PRD-4] answers the orders of one call one after the other, each all or none', async () => {
    const [a, b] = [1, 2]
    await stock({ [a]: 3, [b]: 2 })
    const answers = await Promise.all([
      reserve([line(a, 2), line(b)]),
      reserve([line(a, 2)]),
      reserve([line(b, 2), line(a)]),
      reserve([line(b), line(a)]),
      reserve([line(a)]),
    ])
    expect(answers).toMatchObject([
      { outcome: 'RESERVED' },
      { outcome: 'INSUFFICIENT', productId: a, available: 1 },
      { outcome: 'INSUFFICIENT', productId: b, available: 1 },
      { outcome: 'RESERVED' },
      { outcome: 'INSUFFICIENT', productId: a, available: 0 },
    ])
  })

  it('[ORD-2, ALL-4] NOT_LOADED names all lines of which nothing is known, never a made-up zero', async () => {
    await stock({ 2: 5 })
    expect(await reserve([line(1), line(2), line(3)])).toEqual({ outcome: 'NOT_LOADED', productIds: [1, 3] })
    expect(await inspect(1, 2, 3)).toEqual({ units: [null, 5, null], entries: [] })
  })

  it('[ORD-2] RESERVED takes the units of all lines and leaves one entry with them, in their order', async () => {
    await stock({ 1: 10, 2: 5 })
    const orderId = randomUUIDv7()
    expect(await reserve([line(2, 4), line(1, 3)], orderId)).toEqual({ outcome: 'RESERVED' })
    expect(await inspect(1, 2)).toEqual({
      units: [7, 1],
      entries: [{ id: orderId, kind: 'reserve', orderId, lines: [line(2, 4), line(1, 3)] }],
    })
    // Not a list, which would be searched from its start for each order.
    expect(await harness.redis.object('ENCODING', keys.stockPending(shard))).toBe('hashtable')
  })

  it('[ORD-2, ALL-2] RESERVED again, and nothing taken again, for the same order id', async () => {
    await stock({ 1: 3 })
    const orderId = randomUUIDv7()
    const first = await reserve([line(1, 3)], orderId)
    expect(await reserve([line(1, 3)], orderId)).toEqual(first)
    expect(await inspect(1)).toMatchObject({ units: [0], entries: [{ id: orderId }] })
  })

  it('[ORD-2, ALL-2] RESERVED once for an order id that comes twice in one call', async () => {
    await stock({ 1: 3 })
    const orderId = randomUUIDv7()
    const [first, second] = await Promise.all([
      reserve([line(1, 2)], orderId),
      reserve([line(1, 2)], orderId),
    ])
    expect(second).toEqual(first)
    expect(await inspect(1)).toMatchObject({ units: [1], entries: [{ id: orderId }] })
  })

  it('[PRD-4] all units go in one order, and then there is INSUFFICIENT with 0', async () => {
    await stock({ 1: 1000 })
    expect(await reserve([line(1, 1000)])).toMatchObject({ outcome: 'RESERVED' })
    expect(await reserve([line(1)])).toEqual({ outcome: 'INSUFFICIENT', productId: 1, available: 0 })
    expect(await unitsOf(1)).toEqual([0])
  })

  it('[PRD-4] from 5 down to 0 each unit goes once; one more than there is takes none', async () => {
    await stock({ 1: 5 })
    for (let left = 5; left > 0; left--) {
      const over = { outcome: 'INSUFFICIENT', productId: 1, available: left }
      expect(await reserve([line(1, left + 1)])).toEqual(over)
      expect(await reserve([line(1)])).toMatchObject({ outcome: 'RESERVED' })
    }
    expect(await inspect(1)).toMatchObject({ units: [0], entries: { length: 5 } })
  })

  it('[PRD-4] INSUFFICIENT, not NOT_LOADED, for a product loaded with nothing', async () => {
    await stock({ 1: 0 })
    expect(await reserve([line(1)])).toEqual({ outcome: 'INSUFFICIENT', productId: 1, available: 0 })
  })

  it('[ORD-2] INSUFFICIENT names the first line that cannot be served, and takes nothing of any', async () => {
    await stock({ 1: 10, 2: 1, 3: 0 })
    const orderId = randomUUIDv7()
    const outcome = await reserve([line(1, 10), line(3), line(2, 2)], orderId)
    expect(outcome).toEqual({ outcome: 'INSUFFICIENT', productId: 3, available: 0 })
    expect(await reserve([line(2, 2), line(3)], orderId)).toMatchObject({ productId: 2, available: 1 })
    expect(await inspect(1, 2, 3)).toEqual({ units: [10, 1, 0], entries: [] })
    // The same order may come again and fit.
    expect(await reserve([line(1, 10)], orderId)).toMatchObject({ outcome: 'RESERVED' })
  })

  it('[ORD-2] what is not loaded comes before what is short', async () => {
    await stock({ 1: 0 })
    expect(await reserve([line(1), line(2)])).toEqual({ outcome: 'NOT_LOADED', productIds: [2] })
  })

  it('[ORD-1, ORD-2] takes 50 lines, all or none', async () => {
    const ids = Array.from({ length: 50 }, (_, index) => index + 1)
    await stock(Object.fromEntries(ids.map((id) => [id, 1])))
    const lines = ids.map((id) => line(id))
    expect(await reserve([...lines.slice(0, 49), line(50, 2)])).toMatchObject({ productId: 50 })
    expect(await unitsOf(...ids)).toEqual(ids.map(() => 1))
    expect(await reserve(lines)).toMatchObject({ outcome: 'RESERVED' })
    expect(await unitsOf(...ids)).toEqual(ids.map(() => 0))
  })
})

describe('stock.announce', () => {
  it.each(['cancel', 'restock'] as const)('[ALL-4] ANNOUNCED leaves an entry of a %s, once', async (kind) => {
    await stock({ 1: 10 })
    const [id, orderId] = [randomUUIDv7(), kind === 'cancel' ? randomUUIDv7() : '']
    const lines = [line(1, 2), line(2, 3)]
    for (let times = 0; times < 2; times++) await announce(kind, lines, id, orderId)
    expect(await inspect(1, 2)).toEqual({
      units: [10, null],
      entries: [{ id, kind, orderId, lines }],
    })
  })

  it('[ALL-4] has loaders that may have looked before start over, for its products only', async () => {
    await announceLoading(1, 2, 3)
    await announce('restock', [line(1), line(3)])
    expect(await tokens()).toEqual({ 2: 'token of 2' })
    expect(await load({ 1: 5, 2: 5, 3: 5 })).toEqual([1, 3])
    expect(await unitsOf(1, 2, 3)).toEqual([null, 5, null])
  })
})

describe('stock.settle', () => {
  it('[ORD-4, PRD-4] of a paid order: the units stay taken, the sale is counted, the entry goes', async () => {
    await stock({ 1: 10, 2: 5 })
    const entry = await take([line(1, 3), line(2, 5)])
    expect(await settle({ ...entry, sold: sold('20260301') })).toBe('SETTLED')
    expect(await inspect(1, 2)).toEqual({ units: [7, 0], entries: [] })
    expect(await salesOf('20260301')).toEqual(['1', '3', '2', '5'])
  })

  it('[PRD-6] keeps a day of sales for 8 days from its first sale', async () => {
    await stock({ 1: 10 })
    const key = keys.stockSales(shard, '20260301')
    await settle({ ...(await take([line(1)])), sold: sold('20260301') })
    expect(await harness.redis.pttl(key)).toBeGreaterThan(8 * day - 60_000)
    await harness.redis.pexpire(key, day)
    await settle({ ...(await take([line(1)])), sold: sold('20260301') })
    expect(await harness.redis.pttl(key)).toBeLessThanOrEqual(day)
    expect(await salesOf('20260301')).toEqual(['1', '2'])
  })

  it('[ORD-5, ORD-2] of a refused order: gives every unit back, once, however often it runs', async () => {
    await stock({ 1: 3, 2: 1 })
    const entry = { ...(await take([line(1, 3), line(2)])), committed: false, units: 'give' } as const
    expect(await settle(entry)).toBe('SETTLED')
    expect(await settle(entry)).toBe('SETTLED')
    expect(await inspect(1, 2)).toEqual({ units: [3, 1], entries: [] })
  })

  it('[ORD-2] an entry that comes twice in one call has its effect once', async () => {
    await stock({ 1: 3 })
    const entry = { ...(await take([line(1, 3)])), committed: false, units: 'give' } as const
    expect(await settle(entry, entry)).toBe('SETTLED')
    expect(await inspect(1)).toEqual({ units: [3], entries: [] })
  })

  it('[ORD-6] of a cancellation: gives the units back and takes the sale back; at 0 the product leaves the day', async () => {
    await stock({ 1: 10, 2: 10 })
    const lines = [line(1, 3), line(2, 1)]
    await settle({ ...(await take([...lines])), sold: sold('20260301') })
    await settle({ ...(await take([line(2, 4)])), sold: sold('20260301') })
    const entry = await announce('cancel', lines)
    const canceled = { ...entry, units: 'give', sold: sold('20260301', -1) } as const
    expect(await settle(canceled)).toBe('SETTLED')
    expect(await inspect(1, 2)).toEqual({ units: [10, 6], entries: [] })
    expect(await salesOf('20260301')).toEqual(['2', '4'])
  })

  it('[ORD-6] of a cancellation that comes before its order: both together leave no sale', async () => {
    await stock({ 1: 10 })
    const ordered = await take([line(1, 3)])
    const canceled = await announce('cancel', ordered.lines)
    await settle({ ...canceled, units: 'give', sold: sold('20260301', -1) })
    await settle({ ...ordered, sold: sold('20260301') })
    expect(await salesOf('20260301')).toEqual([])
    expect(await unitsOf(1)).toEqual([10])
  })

  it('[PRD-4] of a restock: brings the units once', async () => {
    await stock({ 1: 0 })
    const entry = await announce('restock', [line(1, 7)])
    expect(await settle({ ...entry, units: 'give' })).toBe('SETTLED')
    expect(await unitsOf(1)).toEqual([7])
  })

  it('[ORD-6, PRD-4] of a cancellation or restock that came to nothing: changes no units', async () => {
    await stock({ 1: 5 })
    const entry = await announce('cancel', [line(1, 2)])
    expect(await settle({ ...entry, committed: false })).toBe('SETTLED')
    expect(await inspect(1)).toEqual({ units: [5], entries: [] })
  })

  it('[ALL-4] DROPPED when Postgres found Redis wrong: its products are loaded again, no others', async () => {
    await stock({ 1: 5, 2: 5, 3: 5 })
    const entry = await take([line(1), line(3)])
    expect(await settle({ ...entry, committed: false, units: 'drop' })).toBe('DROPPED')
    expect(await inspect(1, 2, 3)).toEqual({ units: [null, 5, null], entries: [] })
  })

  it('[ALL-4] DROPPED when Redis has lost the entry of an effect: its count may lack it', async () => {
    await stock({ 1: 5, 2: 5 })
    const lost = { id: randomUUIDv7(), lines: [line(1, 2)] }
    expect(await settle({ ...lost, sold: sold('20260301') })).toBe('DROPPED')
    expect(await unitsOf(1, 2)).toEqual([null, 5])
    expect(await settle({ ...lost, lines: [line(2)], units: 'give' })).toBe('DROPPED')
    expect(await unitsOf(1, 2)).toEqual([null, null])
  })

  it('[ALL-4] a lost entry that had no effect gives nothing and drops nothing', async () => {
    await stock({ 1: 5 })
    const lost = { id: randomUUIDv7(), lines: [line(1, 2)], committed: false }
    expect(await settle({ ...lost, units: 'give' })).toBe('SETTLED')
    expect(await unitsOf(1)).toEqual([5])
  })

  it('[ALL-4] run twice for a paid order, it counts the sale once, and at worst has the products loaded again', async () => {
    await stock({ 1: 5 })
    const entry = { ...(await take([line(1, 2)])), sold: sold('20260301') }
    expect([await settle(entry), await settle(entry)]).toEqual(['SETTLED', 'DROPPED'])
    expect(await salesOf('20260301')).toEqual(['1', '2'])
    expect(await unitsOf(1)).toEqual([null])
  })

  it('[ALL-4] run twice for a restock, it never brings the units twice', async () => {
    await stock({ 1: 5 })
    const entry = await announce('restock', [line(1, 2)])
    await settle({ ...entry, units: 'give' })
    expect(await unitsOf(1)).toEqual([7])
    await settle({ ...entry, units: 'give' })
    expect(await unitsOf(1)).toEqual([null])
  })

  it('[ALL-4] gives nothing to a product that is not loaded: the loader will count it', async () => {
    await stock({ 1: 5 })
    const entry = await take([line(1, 2)])
    await harness.redis.hdel(keys.stockAvailable(shard), '1')
    expect(await settle({ ...entry, committed: false, units: 'give' })).toBe('SETTLED')
    expect(await inspect(1)).toEqual({ units: [null], entries: [] })
  })

  it('[ALL-4] has loaders of its products start over, and no others', async () => {
    await stock({ 1: 5, 2: 5 })
    const entry = await take([line(1), line(2)])
    await announceLoading(1, 2, 3)
    await settle(entry)
    expect(await tokens()).toEqual({ 3: 'token of 3' })
  })

  it('[ORD-4, ALL-4] takes many entries of several days at once, each by its own fate', async () => {
    await stock({ 1: 10, 2: 10, 3: 10 })
    const paid = await take([line(1, 1), line(2, 2)])
    const earlier = await take([line(2, 3)])
    const refused = await take([line(2, 4)])
    const stale = await take([line(3, 1)])
    const untouched = await take([line(1, 1)])
    const outcome = await settle(
      { ...paid, sold: sold('20260302') },
      { ...earlier, sold: sold('20260301') },
      { ...refused, committed: false, units: 'give' },
      { ...stale, committed: false, units: 'drop' },
    )
    expect(outcome).toBe('DROPPED')
    const { units, entries } = await inspect(1, 2, 3)
    expect(units).toEqual([8, 5, null])
    expect(entries.map(({ id }) => id)).toEqual([untouched.id])
    expect(await salesOf('20260301')).toEqual(['2', '3'])
    expect(await salesOf('20260302')).toEqual(['1', '1', '2', '2'])
  })
})

describe('stock.load', () => {
  it('[ALL-4] LOADED makes products available, with 0 as well, and takes their tokens away', async () => {
    await announceLoading(1, 2, 3)
    expect(await load({ 1: 5, 2: 0 })).toEqual([])
    expect(await unitsOf(1, 2, 3)).toEqual([5, 0, null])
    expect(await tokens()).toEqual({ 3: 'token of 3' })
  })

  it('[ALL-4] LOADED leaves the units that are there by now', async () => {
    await stock({ 1: 5 })
    await take([line(1)])
    await announceLoading(1)
    expect(await load({ 1: 5 })).toEqual([])
    expect(await unitsOf(1)).toEqual([4])
    expect(await tokens()).toEqual({})
  })

  it('[ALL-4] START_OVER for those whose token is gone or another, and the rest is loaded', async () => {
    await announceLoading(1, 2)
    await harness.redis.hset(keys.stockLoading(shard), '2', 'another', '4', 'another')
    expect(await load({ 1: 5, 2: 5, 3: 5 })).toEqual([2, 3])
    expect(await unitsOf(1, 2, 3)).toEqual([5, null, null])
    expect(await tokens()).toEqual({ 2: 'another', 4: 'another' })
    expect(await load({ 2: 6 }, () => 'another')).toEqual([])
    expect(await unitsOf(2)).toEqual([6])
  })

  it('[ALL-4] an empty token is never that of a product without one', async () => {
    expect(await load({ 1: 5 }, () => '')).toEqual([1])
    expect(await unitsOf(1)).toEqual([null])
  })
})

describe('stock.inspect', () => {
  it('[ALL-4] tells units in the order asked for, and every pending entry of the shard, by id', async () => {
    await stock({ 7: 9, 8: 0 })
    const ids = [1, 2].map(() => randomUUIDv7()).sort()
    const [first, second] = ids as [string, string]
    await announce('restock', [line(9, 4)], second)
    await take([line(7, 2)], first)
    const { units, entries } = await inspect(9, 8, 7)
    expect(units).toEqual([null, 0, 7])
    expect(entries.map(({ id, kind }) => [id, kind])).toEqual([
      [first, 'reserve'],
      [second, 'restock'],
    ])
  })

  it('[ALL-4] takes more products than Lua can unpack at once', async () => {
    const ids = Array.from({ length: 2500 }, (_, index) => index + 1)
    await stock(Object.fromEntries(ids.map((id) => [id, id])))
    expect(await unitsOf(...ids)).toEqual(ids)
  })
})
