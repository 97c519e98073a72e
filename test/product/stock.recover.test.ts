import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openTransactions } from '../../src/db/transactions.ts'
import { createDomains } from '../../src/domains.ts'
import { keys } from '../../src/redis/keys.ts'
import { changingNothing } from '../setup/contents.ts'
import { gated } from '../setup/gate.ts'
import { type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'

/** Older than this is everything. */
const anyAge = -2000
let userId = 0
/** A ranking is believed for a second: it passes where the next must be read. */
let aheadMs = 0
let harness: Harness
let recovery: ReturnType<typeof recoveryOf>
let shards: number[]
let productIds: number[]

/** The same must hold with all products in one shard, and with the lines of one order in three. */
describe.each(['1', '3'])('recovery of stock, shards: %s', (count) => {
  beforeAll(async () => {
    const now = () => Date.now() + aheadMs
    harness = await startHarness({ env: { STOCK_SHARDS: count }, ambient: { now } })
    shards = Array.from({ length: Number(count) }, (_, shard) => shard)
    recovery = recoveryOf(harness)
  })
  afterAll(() => harness.stop())
  beforeEach(async () => {
    userId++
    productIds = []
    for (const stock of [10, 20, 30]) productIds.push(await harness.product({ price: 100, stock }))
    await harness.charge(userId, 10_000)
  })

  it('[ALL-4, ORD-2] gives an abandoned reservation back, once, and its late commit is refused', async () => {
    const late = gated(harness, 'commit')
    const answer = late.post('/v1/orders', order(2))
    await pendingEntries(shards.length)
    expect(await stocks()).toEqual([8, 18, 28])
    expect(await recovery.finishAbandoned(60_000)).toBe(0)
    expect(await recovery.finishAbandoned(anyAge)).toBe(shards.length)
    expect(await recovery.finishAbandoned(anyAge)).toBe(0)
    expect(await stocks()).toEqual([10, 20, 30])

    const refused = await changingNothing(harness, () => {
      late.open()
      return answer
    })
    expect([refused.status, refused.body.code]).toEqual([503, 'UNAVAILABLE'])
    expect(refused.headers.get('Retry-After')).toBe('1')
    expect(await harness.sql`select * from orders where user_id = ${userId}`).toEqual([])
    expect((await harness.post('/v1/orders', order(10))).status).toBe(201)
    await expectConsistent(harness)
  })

  it('[ALL-4, ORD-4] settles what was committed: units stay taken, the sale counts once', async () => {
    const late = gated(harness, 'settle')
    const answer = late.post('/v1/orders', order(2))
    await until('the commit', async () => (await orderIn('PAID')) !== undefined)
    expect(await recovery.finishAbandoned(anyAge)).toBe(shards.length)
    expect(await stocks()).toEqual([8, 18, 28])
    await expectConsistent(harness)
    late.open()
    expect((await answer).status).toBe(201)
    expect(await stocks()).toEqual([8, 18, 28])
    await expectConsistent(harness)
  })

  it('[ALL-4, ORD-5] gives the units of a FAILED order back, and its late settlement nothing more', async () => {
    await harness.order(userId, await harness.product({ price: 9000 }))
    const late = gated(harness, 'settle')
    const answer = late.post('/v1/orders', order(4))
    expect((await answerAfterRecovery(late, answer, 'FAILED')).status).toBe(402)
    expect(await stocks()).toEqual([10, 20, 30])
    await expectConsistent(harness)
  })

  it('[ALL-4, ORD-6] fences an abandoned cancellation, whose late commit changes nothing', async () => {
    const { body: sold } = await harness.post('/v1/orders', order(2))
    const late = gated(harness, 'commit')
    const answer = late.post(`/v1/orders/${sold.id}/cancel`)
    await pendingEntries(shards.length)
    expect(await recovery.finishAbandoned(anyAge)).toBe(shards.length)
    expect(await stocks()).toEqual([8, 18, 28])
    const refused = await changingNothing(harness, () => {
      late.open()
      return answer
    })
    expect([refused.status, refused.body.code]).toEqual([503, 'UNAVAILABLE'])
    // Another attempt is another cancellation.
    expect((await harness.cancel(sold.id)).status).toBe(200)
    expect(await stocks()).toEqual([10, 20, 30])
    await expectConsistent(harness)
  })

  it('[ALL-4, ORD-6] brings the units of a committed cancellation, once', async () => {
    const { body: sold } = await harness.post('/v1/orders', order(2))
    const late = gated(harness, 'settle')
    const answer = late.post(`/v1/orders/${sold.id}/cancel`)
    expect((await answerAfterRecovery(late, answer, 'CANCELED')).status).toBe(200)
    expect(await stocks()).toEqual([10, 20, 30])
    await expectConsistent(harness)
  })

  it.each(['kept', 'lost and counted anew'])(
    '[ORD-6, PRD-6] an order settled after its cancellation leaves no sale, the sales being %s',
    async (fate) => {
      const unsettled = gated(harness, 'settle')
      const ordered = unsettled.post('/v1/orders', order(2))
      // The caller may find the order in the list before it is settled; its cancellation is settled first.
      const orderId = await until('the order', () => orderIn('PAID'))
      expect((await harness.cancel(orderId)).status).toBe(200)
      if (fate !== 'kept') {
        for (const shard of shards) await harness.redis.del(keys.stockCounted(shard))
        aheadMs += 1000
      }
      const { items } = (await harness.get('/v1/products/popular')).body
      expect(items.filter(({ soldQuantity }: { soldQuantity: number }) => soldQuantity <= 0)).toEqual([])
      unsettled.open()
      expect((await ordered).status).toBe(201)
      expect(await stocks()).toEqual([10, 20, 30])
      await expectConsistent(harness)
    },
  )

  it('[ALL-4, PRD-4] fences an abandoned restock, whose late commit changes nothing', async () => {
    const late = gated(harness, 'commit')
    const answer = late.post(`/v1/admin/products/${productIds[0]}/restock`, { quantity: 5 })
    await pendingEntries(1)
    expect(await recovery.finishAbandoned(anyAge)).toBe(1)
    const refused = await changingNothing(harness, () => {
      late.open()
      return answer
    })
    expect([refused.status, refused.body.code]).toEqual([503, 'UNAVAILABLE'])
    expect(await stocks()).toEqual([10, 20, 30])
    await expectConsistent(harness)
  })

  it('[ALL-4, PRD-4] brings the units of a committed restock, once', async () => {
    const late = gated(harness, 'settle')
    const answer = late.post(`/v1/admin/products/${productIds[0]}/restock`, { quantity: 5 })
    await until('the commit', async () => (await restocksOf(productIds[0])) === 1)
    expect(await recovery.finishAbandoned(anyAge)).toBe(1)
    expect(await stocks()).toEqual([15, 20, 30])
    late.open()
    expect((await answer).body).toMatchObject({ stock: 15 })
    expect(await stocks()).toEqual([15, 20, 30])
    await expectConsistent(harness)
  })

  it('[ALL-4, PRD-2] a product that somebody has locked keeps its own entries waiting, and no others', async () => {
    const [stuck, free] = productIds as [number, number, number]
    const late = gated(harness, 'commit')
    const answers = [[stuck], [stuck, free], [free]].map((ids) =>
      late.post('/v1/orders', { userId, items: ids.map((productId) => ({ productId, quantity: 1 })) }),
    )
    await pendingEntries(shards.length === 1 ? 3 : 4)
    const letGo = await holding(
      harness,
      (connection) => connection`select 1 from products where id = ${stuck} for update`,
    )
    const finished = recovery.finishAbandoned(anyAge)
    await untilLockIsAwaited(harness, 'commit')
    await until('the units of the other', async () => (await stocks())[1] === (shards.length === 1 ? 19 : 20))
    expect((await stocks())[0]).toBe(8)
    await letGo()
    expect(await finished).toBe(shards.length === 1 ? 3 : 4)
    expect(await stocks()).toEqual([10, 20, 30])
    late.open()
    expect(tally(await Promise.all(answers))).toEqual({ UNAVAILABLE: 3 })
    await expectConsistent(harness)
  })

  it('[ALL-4] waits for two locked products at once at most, and for each in its turn', async () => {
    const late = gated(harness, 'commit')
    const answers = productIds.map((productId) =>
      late.post('/v1/orders', { userId, items: [{ productId, quantity: 1 }] }),
    )
    await pendingEntries(3)
    const letGo = await holding(
      harness,
      (connection) => connection`select 1 from products where id = any(${productIds}) for update`,
    )
    const impatient = impatientRecovery()
    const turns: number[][] = []
    for (let run = 0; run < 3; run++) {
      expect(await impatient.finishAbandoned(anyAge)).toBe(0)
      turns.push(impatient.gaveUpOn())
    }
    expect(turns.map(({ length }) => length)).toEqual([2, 2, 2])
    expect(turns.flat().sort(ascending)).toEqual(productIds.flatMap((id) => [id, id]))
    await letGo()
    expect(await impatient.finishAbandoned(anyAge)).toBe(3)
    await impatient.close()
    late.open()
    expect(tally(await Promise.all(answers))).toEqual({ UNAVAILABLE: 3 })
    await expectConsistent(harness)
  })

  it('[ALL-4] three workers at once finish everything once', async () => {
    const { body: sold } = await harness.post('/v1/orders', order(1))
    const uncommitted = gated(harness, 'commit')
    const unsettled = gated(harness, 'settle')
    const answers = [
      uncommitted.post('/v1/orders', order(3)),
      unsettled.post('/v1/orders', order(2)),
      unsettled.post(`/v1/orders/${sold.id}/cancel`),
      unsettled.post(`/v1/admin/products/${productIds[1]}/restock`, { quantity: 7 }),
    ]
    await pendingEntries(3 * shards.length + 1)
    await until('the restock', async () => (await restocksOf(productIds[1])) === 1)
    await until('the cancel', () => orderIn('CANCELED'))
    await until('the order', () => orderIn('PAID'))
    await Promise.all([recovery, recoveryOf(harness), recovery].map((each) => each.finishAbandoned(anyAge)))
    expect(await stocks()).toEqual([8, 25, 28])
    await expectConsistent(harness)
    uncommitted.open()
    unsettled.open()
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([503, 201, 200, 200])
    expect(await stocks()).toEqual([8, 25, 28])
    await expectConsistent(harness)
  })

  it('[ALL-4, PRD-2] finds drift up and down, and only drift', async () => {
    const [up, down, healthy] = productIds as [number, number, number]
    await harness.post('/v1/orders', order(1))
    const held = [gated(harness, 'commit'), gated(harness, 'settle')]
    const answers = held.map((each) => each.post('/v1/orders', order(2)))
    await pendingEntries(2 * shards.length)
    await until(
      'the commit',
      async () => (await harness.get(`/v1/users/${userId}/orders`)).body.items.length === 2,
    )
    expect(await recovery.reconcile()).toBe(0)

    await harness.redis.hincrby(availableOf(up), String(up), 1)
    await harness.redis.hincrby(availableOf(down), String(down), -1)
    expect(await recovery.reconcile()).toBe(2)
    expect(await harness.redis.hget(availableOf(healthy), String(healthy))).toBe('25')
    expect(await stocks()).toEqual([5, 15, 25])
    expect(await recovery.reconcile()).toBe(0)
    for (const each of held) each.open()
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([201, 201])
    await expectConsistent(harness)
  })

  it('[ALL-4, PRD-2] finds no drift in a sale that is running', async () => {
    const productId = await harness.product({ price: 1, stock: 1000 })
    let isOver = false
    const buyers = Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let n = 0; n < 25; n++) await harness.order(userId, productId)
      }),
    ).then(() => (isOver = true))
    let drifted = 0
    do drifted += await recovery.reconcile()
    while (!isOver)
    await buyers
    expect(drifted).toBe(0)
    await expectConsistent(harness)
  })

  it('[ALL-4] loads what Redis lacks before anybody asks for it', async () => {
    await harness.redis.del(...shards.map((shard) => keys.stockAvailable(shard)))
    expect(await recovery.reconcile()).toBe(0)
    const loaded = await Promise.all(productIds.map((id) => harness.redis.hget(availableOf(id), String(id))))
    expect(loaded).toEqual(['10', '20', '30'])
  })

  it('[ALL-4] has everything loaded again when told so', async () => {
    await harness.post('/v1/orders', order(1))
    for (const id of productIds) await harness.redis.hset(availableOf(id), String(id), 77)
    await recovery.dropAll()
    expect(await stocks()).toEqual([9, 19, 29])
    await expectConsistent(harness)
  })
})

/** What the worker of one process does, over all that it recovers. */
function recoveryOf({ deps }: Harness) {
  const { recoveries } = createDomains(deps)
  const sum = async (counts: Promise<number>[]) => (await Promise.all(counts)).reduce((a, b) => a + b, 0)
  return {
    finishAbandoned: (minAgeMs: number) => sum(recoveries.map((each) => each.finishAbandoned(minAgeMs))),
    reconcile: () => sum(recoveries.map((each) => each.reconcile())),
    dropAll: () => Promise.all(recoveries.map((each) => each.dropAll())),
  }
}

/** The recovery of a worker that gives up on a lock after 0.3 s, and the products that it gave up on since last asked. */
function impatientRecovery() {
  const transactions = openTransactions({
    url: harness.deps.env.DATABASE_URL,
    lanes: 4,
    maxWaiting: 4,
    timeoutMs: 500,
    applicationName: 'impatient',
  })
  let productIdsGivenUp: number[] = []
  const write = (line: string) => productIdsGivenUp.push(...(JSON.parse(line).productIds ?? []))
  const log = pino({ level: 'warn' }, { write })
  return {
    ...recoveryOf({ ...harness, deps: { ...harness.deps, transactions, log } }),
    gaveUpOn() {
      const productIds = productIdsGivenUp
      productIdsGivenUp = []
      return productIds
    },
    close: () => transactions.close(),
  }
}

/** An order of so many of each product. */
function order(quantity: number) {
  return { userId, items: productIds.map((productId) => ({ productId, quantity })) }
}

const ascending = (a: number, b: number) => a - b
const availableOf = (productId: number) => keys.stockAvailable(productId % shards.length)
const restocksOf = async (productId: number | undefined) =>
  (await harness.sql`select * from restocks where product_id = ${productId ?? 0}`).length

/** The id of the order of this test's user that has the status, if there is one. */
async function orderIn(status: string): Promise<string | undefined> {
  const [row] = await harness.sql`select id from orders where user_id = ${userId} and status = ${status}`
  return row?.id
}

async function stocks(): Promise<number[]> {
  const answers = await Promise.all(productIds.map((id) => harness.get(`/v1/products/${id}`)))
  return answers.map(({ body }) => body.stock)
}

/** Waits until there are so many entries in all shards together. */
async function pendingEntries(count: number): Promise<void> {
  await until('the entries', async () => {
    const lengths = await Promise.all(shards.map((shard) => harness.redis.hlen(keys.stockPending(shard))))
    return lengths.reduce((sum, length) => sum + length, 0) === count
  })
}

/** Has recovery settle what is committed and held at the gate, twice, then lets the request go on. */
async function answerAfterRecovery<Answered>(
  late: { open(): void },
  answer: Promise<Answered>,
  status: 'FAILED' | 'CANCELED',
): Promise<Answered> {
  await until('the commit', () => orderIn(status))
  expect(await recovery.finishAbandoned(anyAge)).toBe(shards.length)
  expect(await recovery.finishAbandoned(anyAge)).toBe(0)
  await expectConsistent(harness)
  late.open()
  return answer
}
