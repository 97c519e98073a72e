import { randomUUIDv7 } from 'node:crypto'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { midnightOf } from '../../src/popular/popular.ts'
import { createRecount } from '../../src/popular/recount.ts'
import { keys } from '../../src/redis/keys.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { stockEntryText } from '../setup/pending.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'

const hour = 3_600_000
const day = 24 * hour
/** A noon in Seoul; the clock of the service is set around it. */
const noon = midnightOf('2026-05-10') + 12 * hour

let now: number
let harness: Harness
beforeEach(async () => {
  now = noon
  harness = await startHarness({ ambient: { now: () => now } })
})
afterEach(() => harness.stop())

async function products(count: number, changes: Record<string, unknown> = {}): Promise<number[]> {
  const ids: number[] = []
  for (let n = 0; n < count; n++) ids.push(await harness.product({ stock: 10_000, price: 10, ...changes }))
  return ids
}

/** A paid order of `quantity` at `at`. Gives its id. */
async function sell(productId: number, quantity: number, at = now): Promise<string> {
  const before = now
  now = at
  await harness.sql`insert into user_balances values (1, 9000000, 1) on conflict do nothing`
  await harness.sql`insert into balance_entries (user_id, type, amount, balance_after, created_at)
    select 1, 'CHARGE', 9000000, 9000000, now() where not exists (select 1 from balance_entries)`
  const { status, body } = await harness.order(1, [{ productId, quantity }])
  expect(status).toBe(201)
  now = before
  return body.id
}

/** The live ranking as [product, sold] pairs, past any cache. */
async function live(): Promise<[number, number][]> {
  now += 1001
  const { status, body } = await harness.get('/v1/products/popular')
  expect(status).toBe(200)
  return pairs(body)
}
const pairs = (body: { items: { productId: number; soldQuantity: number }[] }) =>
  body.items.map(({ productId, soldQuantity }): [number, number] => [productId, soldQuantity])

const daySales = (date: string) => harness.redis.zrange(keys.stockSales(0, date), '0', '-1', 'WITHSCORES')

describe('GET /v1/products/popular', () => {
  it('[PRD-6] ranks the five sold most over today and the two days before, with all that is shown of them', async () => {
    const ids = await products(7)
    for (const [index, id] of ids.entries()) await sell(id, 10 + index)
    now += 1001
    const { body } = await harness.get('/v1/products/popular')
    expect(body.from).toBe('2026-05-08')
    expect(body.to).toBe('2026-05-10')
    expect(body.items).toEqual(
      [6, 5, 4, 3, 2].map((index, place) => ({
        rank: place + 1,
        productId: ids[index],
        name: 'Hairpin',
        price: 10,
        stock: 10_000 - 10 - index,
        soldQuantity: 10 + index,
      })),
    )
  })

  it('[PRD-6] puts the lower product id first among equals, also at the last place', async () => {
    const ids = await products(8)
    for (const id of ids.toReversed()) await sell(id, 3)
    expect(await live()).toEqual(ids.slice(0, 5).map((id) => [id, 3]))
  })

  it('[PRD-6] is empty when nothing was sold, and does not count what was not paid', async () => {
    expect(await live()).toEqual([])
    const [id] = await products(1)
    expect(tally([await harness.order(2, id as number)])).toEqual({ INSUFFICIENT_BALANCE: 1 })
    expect(await live()).toEqual([])
  })

  it('[PRD-6] leaves out a product that Postgres does not have, and gives the others what they sold', async () => {
    const [first, second] = (await products(2)) as [number, number]
    await sell(first, 5)
    await sell(second, 3)
    expect(await live()).toHaveLength(2)
    await harness.redis.zadd(keys.stockSales(0, '20260510'), 4, '999999')
    now += 1001
    const { body } = await harness.get('/v1/products/popular')
    expect(pairs(body)).toEqual([
      [first, 5],
      [second, 3],
    ])
    expect(body.items.map(({ rank }: { rank: number }) => rank)).toEqual([1, 2])
  })

  it('[PRD-6] puts orders on both sides of a Seoul midnight into their days, and drops the fourth day', async () => {
    const [early, late, old] = (await products(3)) as [number, number, number]
    const midnight = midnightOf('2026-05-10')
    await sell(early, 1, midnight - 1)
    await sell(late, 2, midnight)
    await sell(old, 5, midnightOf('2026-05-08') - 1)
    await sell(old, 7, midnightOf('2026-05-08'))
    expect(await daySales('20260509')).toEqual([String(early), '1'])
    expect(await daySales('20260510')).toEqual([String(late), '2'])
    expect(await live()).toEqual([
      [old, 7],
      [late, 2],
      [early, 1],
    ])
    now = noon + day
    expect(await live()).toEqual([
      [late, 2],
      [early, 1],
    ])
    now = noon + 2 * day
    expect(await live()).toEqual([[late, 2]])
    now = noon + 3 * day
    expect(await live()).toEqual([])
  })

  it('[PRD-6, ORD-6] a cancel on the next day corrects the day of the payment, to nothing and never below', async () => {
    const [first, second] = (await products(2)) as [number, number]
    const order = await sell(first, 4)
    const kept = await sell(first, 1)
    await sell(second, 2)
    now = noon + day
    await sell(first, 3)
    expect(await live()).toEqual([
      [first, 8],
      [second, 2],
    ])
    expect((await harness.cancel(order)).status).toBe(200)
    expect(await daySales('20260510')).toEqual([String(first), '1', String(second), '2'])
    expect((await harness.cancel(kept)).status).toBe(200)
    expect(await daySales('20260510')).toEqual([String(second), '2'])
    expect(tally([await harness.cancel(kept)])).toEqual({ ORDER_NOT_CANCELABLE: 1 })
    expect(await live()).toEqual([
      [first, 3],
      [second, 2],
    ])
    await expectConsistent(harness)
  })

  it('[PRD-6, ALL-4] counts days that Redis has lost from Postgres, cancelled orders left out', async () => {
    const [a, b] = (await products(2)) as [number, number]
    await sell(a, 4, noon - day)
    await sell(b, 5)
    await harness.cancel(await sell(b, 9))
    const before = await live()
    await harness.redis.flushdb()
    expect(await live()).toEqual(before)
    await expectConsistent(harness)
    // Nothing is logged any more.
    expect(await harness.redis.exists(keys.stockSalesLog(0))).toBe(0)
    await harness.redis.del(keys.stockSales(0, '20260510'), keys.stockCounted(0))
    expect(await live()).toEqual(before)
  })

  it('[PRD-6, ALL-4] counts anew where units differ from Postgres: a lost settlement loses a sale with them', async () => {
    const [a] = (await products(1)) as [number]
    await sell(a, 4)
    await sell(a, 3)
    const before = await live()
    // As an order whose entry Redis lost, and whose process died before it could say so.
    await harness.redis.zincrby(keys.stockSales(0, '20260510'), -3, String(a))
    await harness.redis.hincrby(keys.stockAvailable(0), String(a), 3)
    for (const recovery of harness.recoveries) await recovery.reconcile()
    expect(await live()).toEqual(before)
    await expectConsistent(harness)
  })

  it('[PRD-6, ALL-4] takes the count of a day on which 60,000 products were sold', async () => {
    const { scripts } = harness.deps
    const sales = Array.from({ length: 60_000 }, (_, index) => ({
      productId: index + 1,
      quantity: index + 1,
    }))
    await scripts.beginSales(0, 'token', 60_000)
    const finish = { day: '20260510', looked: 0, isLast: true, sales }
    expect(await scripts.finishSales(0, 'token', finish)).toBe(true)
    expect(await scripts.topSales(0, ['20260510'], 2)).toEqual({ sales: [sales[59_999], sales[59_998]] })
  })

  it('[PRD-6, ALL-4] counts exactly while orders and cancels go on', async () => {
    const ids = await products(3)
    await Promise.all(ids.map((_, user) => harness.charge(100 + user, 9_000_000)))
    for (let round = 0; round < 5; round++) {
      const traffic = Array.from({ length: 120 }, async (_, n) => {
        const { body } = await harness.order(100 + (n % 3), [
          { productId: ids[n % 3] as number, quantity: 1 + (n % 4) },
        ])
        if (n % 5 === 0) await harness.cancel(body.id)
      })
      await harness.redis.del(keys.stockCounted(0), keys.stockSales(0, '20260510'))
      const looks = Array.from({ length: 4 }, () => live())
      await Promise.all([...traffic, ...looks])
      await live()
      await expectConsistent(harness)
    }
  })

  it('[PRD-6, ALL-4] counts a sale that Redis lost before, and that is settled while its day is being counted', async () => {
    const [id] = (await products(1)) as [number]
    await sell(id, 1)
    const letGo = await holding(
      harness,
      (connection) => connection`select 1 from products where id = ${id} for update`,
    )
    const order = harness.order(1, [{ productId: id, quantity: 5 }])
    await untilLockIsAwaited(harness, 'commit')
    await harness.redis.flushdb()

    const { scripts } = harness.deps
    const recount = createRecount({
      ...harness.deps,
      shards: 1,
      scripts: {
        ...scripts,
        async lookAtSales(...args) {
          // Its snapshot of Postgres is taken by now, without the order.
          const look = await scripts.lookAtSales(...args)
          await letGo()
          expect((await order).status).toBe(201)
          return look
        },
      },
    })
    await recount(0, ['2026-05-10'])
    expect(await live()).toEqual([[id, 6]])
    await expectConsistent(harness)
  })
})

describe('the midnight snapshot', () => {
  const stored = () => harness.sql`select date::text, rank, product_id, sold_quantity
    from popular_product_snapshots order by date, rank`

  it('[PRD-7] has what the live ranking had of those three days, and its names and prices', async () => {
    const ids = await products(6)
    for (const [index, id] of ids.entries()) await sell(id, 1 + index, noon - (index % 3) * day)
    now = midnightOf('2026-05-11') - 1002
    const ranking = await live()
    now = midnightOf('2026-05-11') + 5000
    await sell(ids[0] as number, 50)
    expect(await harness.rankings.catchUp()).toContain('2026-05-11')
    const { status, body } = await harness.get('/v1/products/popular/snapshots/2026-05-11')
    expect(status).toBe(200)
    expect(pairs(body)).toEqual(ranking)
    expect(body).toMatchObject({ date: '2026-05-11', from: '2026-05-08', to: '2026-05-10' })
    expect(body.items[0]).toEqual({ rank: 1, productId: ids[5], name: 'Hairpin', price: 10, soldQuantity: 6 })
    expect((await harness.get('/v1/products/popular/snapshots/latest')).body).toEqual(body)
  })

  it('[PRD-7] is taken once by two schedulers at once, and a second run changes nothing', async () => {
    const [id] = (await products(1)) as [number]
    await sell(id, 3)
    now = midnightOf('2026-05-11') + 1
    const other = await startHarness({ on: harness.on, ambient: { now: () => now } })
    const runs = await Promise.all([harness, other, harness, other].map(({ rankings }) => rankings.catchUp()))
    expect(runs.flat()).toEqual(['2026-05-11'])
    await other.stop()
    const before = await stored()
    await sell(id, 4)
    expect(await harness.rankings.catchUp()).toEqual([])
    expect(await stored()).toEqual(before)
    expect(before).toMatchObject([{ date: '2026-05-11', rank: 1, product_id: id, sold_quantity: 3 }])
  })

  it('[PRD-7] catches up three missed midnights, each with its own three days', async () => {
    const [id] = (await products(1)) as [number]
    await sell(id, 1, midnightOf('2026-05-09'))
    await sell(id, 10, midnightOf('2026-05-10'))
    now = midnightOf('2026-05-10') + hour
    expect(await harness.rankings.catchUp()).toEqual(['2026-05-10'])
    await sell(id, 100, midnightOf('2026-05-11'))
    now = midnightOf('2026-05-13') + hour
    expect(await harness.rankings.catchUp()).toEqual(['2026-05-11', '2026-05-12', '2026-05-13'])
    expect((await stored()).map((row) => [row.date, row.sold_quantity])).toEqual([
      ['2026-05-10', 1],
      ['2026-05-11', 11],
      ['2026-05-12', 111],
      ['2026-05-13', 110],
    ])
  })

  it('[PRD-7] catches up a midnight that was missed before others were taken, and none of more than 400 days ago', async () => {
    const [id] = (await products(1)) as [number]
    await sell(id, 1, midnightOf('2025-01-01'))
    await sell(id, 10, midnightOf('2026-05-10'))
    now = midnightOf('2026-05-13') + hour
    const last400 = Array.from({ length: 400 }, (_, days) => new Date(now - days * day + 9 * hour))
    const dates = last400.map((date) => date.toISOString().slice(0, 10)).reverse()
    expect(await harness.rankings.catchUp()).toEqual(dates)

    await harness.sql`delete from popular_product_snapshots where date in ('2026-05-01', '2026-05-12')`
    await harness.sql`delete from popular_snapshots where date in ('2026-05-01', '2026-05-12')`
    expect(await harness.rankings.catchUp()).toEqual(['2026-05-01', '2026-05-12'])
    expect(await harness.rankings.catchUp()).toEqual([])
    expect((await stored()).map((row) => row.date)).toEqual(['2026-05-11', '2026-05-12', '2026-05-13'])
  })

  it('[PRD-7] catches up also where nothing was ever sold', async () => {
    expect(await harness.rankings.catchUp()).toEqual(['2026-05-10'])
    now += 2 * day
    expect(await harness.rankings.catchUp()).toEqual(['2026-05-11', '2026-05-12'])
  })

  it('[PRD-7] takes the truth from Postgres where Redis tells otherwise, and says so', async () => {
    const lines: string[] = []
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) })
    const watched = await startHarness({ on: harness.on, ambient: { now: () => now, log } })
    const [id] = (await products(1)) as [number]
    await sell(id, 3)
    await live()
    await harness.redis.zincrby(keys.stockSales(0, '20260510'), 1000, id)
    now = midnightOf('2026-05-11')
    await watched.rankings.catchUp()
    expect(await stored()).toMatchObject([{ product_id: id, sold_quantity: 3 }])
    expect(lines.filter((line) => line.includes('Postgres is right')).length).toBe(1)
    await watched.stop()
  })

  it('[PRD-7] waits for an order from before midnight that is not settled yet, also if Redis dates it later', async () => {
    const [id] = (await products(1)) as [number]
    await sell(id, 1)
    now = midnightOf('2026-05-11')
    const restockId = randomUUIDv7()
    const entry = stockEntryText({ kind: 'restock', orderId: '', lines: [] }, now + 999)
    await harness.redis.hset(keys.stockPending(0), restockId, entry)
    const run = harness.rankings.takeSnapshot('2026-05-11')
    await expectNoneYet()
    await harness.redis.hdel(keys.stockPending(0), restockId)
    expect(await run).toMatchObject({ date: '2026-05-11', items: [{ productId: id, soldQuantity: 1 }] })
  })

  it('[PRD-7] waits until midnight has passed by the clock of Redis too, which dates what is reserved', async () => {
    await harness.sql`insert into popular_snapshots (date, taken_at) values ('2099-12-31', now())`
    now = midnightOf('2100-01-01')
    const stop = new AbortController()
    const run = harness.rankings.catchUp(stop.signal)
    await expectNoneYet()
    stop.abort()
    await expect(run).rejects.toThrow('aborted')
  })

  async function expectNoneYet(): Promise<void> {
    for (let look = 0; look < 300; look++) {
      expect((await harness.sql`select 1 from popular_snapshots where date <> '2099-12-31'`).length).toBe(0)
    }
  }

  it('[PRD-7, ALL-3] the admin route takes one date, not after today; others are not found', async () => {
    const [id] = (await products(1)) as [number]
    await sell(id, 2, noon - day)
    const take = (date: string) => harness.admin('POST', '/v1/admin/popular/snapshots', { date })
    const taken = await take('2026-05-10')
    expect(taken.status).toBe(200)
    expect(taken.body).toEqual({
      date: '2026-05-10',
      from: '2026-05-07',
      to: '2026-05-09',
      items: [{ rank: 1, productId: id, name: 'Hairpin', price: 10, soldQuantity: 2 }],
    })
    expect((await take('2026-05-10')).body).toEqual(taken.body)
    expect((await take('2026-05-01')).body.items).toEqual([])
    expect(tally([await take('2026-05-11'), await take('2026-02-30'), await take('latest')])).toEqual({
      VALIDATION_FAILED: 3,
    })
    const get = (date: string) => harness.get(`/v1/products/popular/snapshots/${date}`)
    expect(tally([await get('2026-05-09')])).toEqual({ SNAPSHOT_NOT_FOUND: 1 })
    expect(tally([await get('yesterday'), await get('2026-13-01')])).toEqual({ VALIDATION_FAILED: 2 })
    expect((await get('latest')).body).toEqual(taken.body)
  })

  it('[PRD-7] there is none before the first', async () => {
    expect(tally([await harness.get('/v1/products/popular/snapshots/latest')])).toEqual({
      SNAPSHOT_NOT_FOUND: 1,
    })
  })
})
