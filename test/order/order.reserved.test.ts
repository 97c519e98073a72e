import { randomUUIDv7 } from 'node:crypto'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isRuleBroken } from '../../src/db/failure.ts'
import type { OrderOutcome, OrderRequest } from '../../src/order/order.decide.ts'
import { commitOrders, commitReserved } from '../../src/order/order.place.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`commitReserved seed: TEST_SEED=${seed}`)

let harness: Harness
beforeEach(async () => {
  harness = await startHarness()
})
afterEach(() => harness.stop())

type Commit = typeof commitOrders
const run = (commit: Commit, requests: OrderRequest[]) =>
  harness.deps.transactions.run((tx) => commit(tx, requests))

let users = 0
/** Two users with 10,000 and 20,000 won and a coupon each, and two products with plenty of stock. */
async function newWorld() {
  const policyId = await harness.policy({ totalQuantity: 2 })
  const products = [
    await harness.product({ price: 3000, stock: 500 }),
    await harness.product({ price: 700, stock: 500 }),
  ]
  const buyers: { userId: number; couponId: string }[] = []
  for (const amount of [10_000, 20_000]) {
    const userId = ++users
    await harness.charge(userId, amount)
    buyers.push({ userId, couponId: (await harness.issue(policyId, userId)).body.id })
  }
  return { products, buyers }
}
type World = Awaited<ReturnType<typeof newWorld>>

interface Wish {
  buyer: number
  /** quantity of each product; no line for 0 */
  quantities: [number, number]
  coupon: number | null
}

const requestOf = ({ products, buyers }: World, { buyer, quantities, coupon }: Wish): OrderRequest => ({
  orderId: randomUUIDv7(),
  paymentId: randomUUIDv7(),
  eventId: randomUUIDv7(),
  userId: buyers[buyer]?.userId ?? 0,
  lines: quantities.flatMap((quantity, index) =>
    quantity === 0 ? [] : [{ productId: products[index] ?? 0, quantity }],
  ),
  couponId: coupon === null ? null : (buyers[coupon]?.couponId ?? null),
  at: new Date(),
  entries: [],
  call: undefined,
})

/** What became of an order, without its ids and times. */
function gist({ products, buyers }: World, outcome: OrderOutcome) {
  if (!('order' in outcome)) return 'refused' in outcome ? outcome.refused : outcome
  const { status, items, totalAmount, finalAmount, couponId, payment } = outcome.order
  return {
    refused: 'refused' in outcome ? outcome.refused : null,
    status,
    items: items.map((item) => ({ ...item, productId: products.indexOf(item.productId) })),
    amounts: [totalAmount, finalAmount, payment.amount],
    coupon: buyers.findIndex((buyer) => buyer.couponId === couponId),
    payment: payment.status,
  }
}

async function contents({ products, buyers }: World) {
  const userIds = buyers.map(({ userId }) => userId)
  return {
    stock: await harness.sql`select stock from products where id = any(${products}) order by id`,
    balances:
      await harness.sql`select balance, version from user_balances where user_id = any(${userIds}) order by user_id`,
    entries:
      await harness.sql`select type, amount, balance_after from balance_entries where user_id = any(${userIds})
      order by user_id, id`,
    coupons:
      await harness.sql`select status, order_id is null as free from coupons where user_id = any(${userIds})
      order by user_id`,
    orders: await harness.sql`select o.status, o.final_amount, p.status as payment, p.amount,
        (select count(*)::int from order_items i where i.order_id = o.id) as lines,
        (select count(*)::int from outbox_events e where e.order_id = o.id) as events
      from orders o join payments p on p.order_id = o.id where o.user_id = any(${userIds})
      order by o.status, o.final_amount, lines`,
  }
}

describe('orders written as Redis reserved them', () => {
  const wish: fc.Arbitrary<Wish> = fc.record({
    buyer: fc.nat(1),
    quantities: fc
      .tuple(fc.nat(3), fc.nat(3))
      .filter(([first, second]) => first + second > 0) as fc.Arbitrary<[number, number]>,
    coupon: fc.option(fc.nat(1)),
  })

  it('[ORD-2, ORD-3, ORD-4, ORD-5] come out as deciding behind the locks has them, whatever the batches', async () => {
    const batches = fc.array(fc.array(wish, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const trusted = await newWorld()
        const decided = await newWorld()
        for (const wishes of all) {
          const outcomes = await run(
            commitReserved,
            wishes.map((each) => requestOf(trusted, each)),
          )
          const expected = await run(
            commitOrders,
            wishes.map((each) => requestOf(decided, each)),
          )
          expect(outcomes.map((each) => gist(trusted, each))).toEqual(
            expected.map((each) => gist(decided, each)),
          )
        }
        expect(await contents(trusted)).toEqual(await contents(decided))
      }),
      { seed, numRuns: 12 },
    )
  })

  const plain: Wish = { buyer: 0, quantities: [1, 0], coupon: null }

  it('[PRD-4] change nothing and break a rule where Postgres has less than Redis gave away', async () => {
    const world = await newWorld()
    await harness.sql`update products set stock = 1 where id = ${world.products[0] ?? 0}`
    const before = await contents(world)
    const requests = [plain, plain].map((each) => requestOf(world, each))
    const error = await run(commitReserved, requests).catch((reason: unknown) => reason)
    expect(isRuleBroken(error)).toBe(true)
    expect(await contents(world)).toEqual(before)
    expect((await run(commitOrders, requests)).map((each) => 'order' in each && each.order.status)).toEqual([
      'PAID',
      false,
    ])
  })

  it('[ORD-4] change nothing and break a rule where recovery has given one of them up', async () => {
    const world = await newWorld()
    const requests = [plain, plain].map((each) => requestOf(world, each))
    await harness.sql`insert into abandoned_entries (id, abandoned_at) values (${requests[1]?.orderId ?? ''}, now())`
    const before = await contents(world)
    const error = await run(commitReserved, requests).catch((reason: unknown) => reason)
    expect(isRuleBroken(error)).toBe(true)
    expect(await contents(world)).toEqual(before)
  })

  /** Has a user with 10,000 won order one of a product while another has it locked. */
  async function orderBehindLock(productId: number) {
    const userId = ++users
    await harness.charge(userId, 10_000)
    const letGo = await holding(
      harness,
      (connection) => connection`select from products where id = ${productId} for no key update`,
    )
    const ordered = harness.order(userId, productId)
    await untilLockIsAwaited(harness, 'commit')
    return { userId, ordered, letGo }
  }

  it('[ORD-1] charge the price of the locked row, though it changed after they were decided', async () => {
    const productId = await harness.product({ price: 1000 })
    const { userId, ordered, letGo } = await orderBehindLock(productId)
    // By another connection it would wait for the lock as well, so the holder does it.
    await letGo((connection) => connection`update products set price = 1500 where id = ${productId}`)
    expect((await ordered).body).toMatchObject({ status: 'PAID', finalAmount: 1500 })
    expect(await harness.balance(userId)).toBe(8500)
    await expectConsistent(harness)
  })

  it('[BAL-6] of a user whose balance is charged meanwhile pay from the new one, and lose neither', async () => {
    const productId = await harness.product({ price: 1000, stock: 100 })
    const { userId, ordered, letGo } = await orderBehindLock(productId)
    expect((await harness.charge(userId, 10_000)).status).toBe(200)
    await letGo()
    expect((await ordered).status).toBe(201)
    expect(await harness.balance(userId)).toBe(19_000)
    await expectConsistent(harness)
  })

  it('[CPN-5, ORD-6] and cancelled beside each other, with few users, products and coupons, wait in no circle', async () => {
    const world = await newWorld()
    const { products, buyers } = world
    const [first, second] = products as [number, number]
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, n) => {
        const { userId, couponId } = buyers[n % 2] as (typeof buyers)[number]
        const lines = (n % 3 === 0 ? [first, second] : [second, first]).map((productId) => ({
          productId,
          quantity: 1,
        }))
        const answer = await harness.order(userId, lines, n % 4 === 0 ? { couponId } : {})
        if (answer.status === 201) await harness.cancel(answer.body.id)
        return answer
      }),
    )
    const counts = tally(answers)
    expect(Object.keys(counts).sort()).not.toContain('UNAVAILABLE')
    expect(
      (await harness.sql`select deadlocks::int from pg_stat_database where datname = current_database()`)[0],
    ).toEqual({
      deadlocks: 0,
    })
    await expectConsistent(harness)
  })
})
