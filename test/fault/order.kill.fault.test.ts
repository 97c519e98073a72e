import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { seoulDay } from '../../src/product/product.ts'
import { keys } from '../../src/redis/keys.ts'
import { type Answer, adminToken, type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'
import { inParallel, type ServerProcess, startServer } from '../setup/server.ts'

const healedWithinMs = 15_000

let harness: Harness
let servers: ServerProcess[]
let productId: number
beforeEach(async () => {
  harness = await startHarness()
  servers = []
  productId = await harness.product({ stock: 10, price: 10_000 })
  await harness.charge(1, 100_000)
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
const pendingCount = () => harness.redis.hlen(keys.stockPending(0))
const orderBody = (userId: number) => ({ userId, items: [{ productId, quantity: 1 }] })
const stockInRedis = () => harness.redis.hget(keys.stockAvailable(0), String(productId))
const stockInPostgres = async () =>
  (await harness.sql`select stock from products where id = ${productId}`)[0]?.stock
const untilSettled = () =>
  until('everything to be settled', async () => (await pendingCount()) === 0, healedWithinMs)

/** Holds the row lock of the product, so that a transaction waits for it. Gives the function that lets go. */
const holdProduct = () =>
  holding(harness, (connection) => connection`select 1 from products where id = ${productId} for update`)

/**
 * Makes a call of a server die at one of the two places between the stores: before the commit, whose transaction waits
 * for a lock until the server is killed; or after it, with Redis taking no writes until the server is killed.
 */
async function killDuring(
  place: 'before commit' | 'after commit',
  path: string,
  body: unknown,
  isCommitted: () => Promise<boolean>,
) {
  const server = await start()
  const letGo = await holdProduct()
  const headers = { Authorization: `Bearer ${adminToken}` }
  const answer = server.post(path, body, headers).catch(() => 'no answer')
  await untilLockIsAwaited(harness, 'commit')
  if (place === 'before commit') {
    await server.kill('SIGKILL')
    await letGo()
  } else {
    await harness.redis.client('PAUSE', 60_000, 'WRITE')
    await letGo()
    await until('the commit', isCommitted)
    await server.kill('SIGKILL')
    await harness.redis.client('UNPAUSE')
  }
  expect(await answer).toBe('no answer')
  expect(await pendingCount()).toBe(1)
  return isCommitted()
}

describe('a server that is killed with SIGKILL', () => {
  it('[ORD-2, ORD-4] between reserve and commit: no order, and the stock comes back', async () => {
    const count = async () => (await harness.sql`select 1 from orders`).length === 1
    expect(await killDuring('before commit', '/v1/orders', orderBody(1), count)).toBe(false)
    expect(await stockInRedis()).toBe('9')
    await start()
    await untilSettled()
    expect([await stockInRedis(), await stockInPostgres(), await harness.balance(1)]).toEqual([
      '10',
      10,
      100_000,
    ])
    await expectConsistent(harness)
  })

  it('[ALL-2, ORD-4] between reserve and commit: another process takes the repeat while its caller waits', async () => {
    const server = await start()
    const letGo = await holdProduct()
    const answer = server
      .post('/v1/orders', orderBody(1), { 'Idempotency-Key': 'mine' })
      .catch(() => 'no answer')
    await untilLockIsAwaited(harness, 'commit')
    await server.kill('SIGKILL')
    await letGo()
    expect(await answer).toBe('no answer')
    const repeat = await harness.order(1, [{ productId, quantity: 1 }], { key: 'mine' })
    expect(tally([repeat])).toEqual({ 201: 1 })
    await start()
    await untilSettled()
    expect(await stockInPostgres()).toBe(9)
    await expectConsistent(harness)
  })

  it('[ORD-4, ALL-1] between commit and settle: the order is there once, and its sale is counted once', async () => {
    const count = async () => (await harness.sql`select 1 from orders`).length === 1
    expect(await killDuring('after commit', '/v1/orders', orderBody(1), count)).toBe(true)
    await start()
    await untilSettled()
    expect([await stockInRedis(), await stockInPostgres(), await harness.balance(1)]).toEqual([
      '9',
      9,
      90_000,
    ])
    await expectConsistent(harness)
  })

  it('[ORD-6] during a cancel, before its commit: the order stays PAID and can be cancelled', async () => {
    const { body: order } = await harness.order(1, productId)
    const canceled = async () =>
      (await harness.sql`select status from orders where id = ${order.id}`)[0]?.status === 'CANCELED'
    expect(await killDuring('before commit', `/v1/orders/${order.id}/cancel`, {}, canceled)).toBe(false)
    await start()
    await untilSettled()
    await expectConsistent(harness)
    expect(tally([await harness.cancel(order.id)])).toEqual({ 200: 1 })
    expect([await stockInRedis(), await harness.balance(1)]).toEqual(['10', 100_000])
    await expectConsistent(harness)
  })

  it('[ORD-6] during a cancel, after its commit: refunded once, and the stock is back once in both stores', async () => {
    const { body: order } = await harness.order(1, productId)
    const canceled = async () =>
      (await harness.sql`select status from orders where id = ${order.id}`)[0]?.status === 'CANCELED'
    expect(await killDuring('after commit', `/v1/orders/${order.id}/cancel`, {}, canceled)).toBe(true)
    await start()
    await untilSettled()
    expect([await stockInRedis(), await stockInPostgres(), await harness.balance(1)]).toEqual([
      '10',
      10,
      100_000,
    ])
    expect(tally([await harness.cancel(order.id)])).toEqual({ ORDER_NOT_CANCELABLE: 1 })
    await expectConsistent(harness)
  })

  it.each([
    ['before commit', '10', 10],
    ['after commit', '15', 15],
  ] as const)(
    '[PRD-4, PRD-5] during a restock, %s: both stores have it once or not at all',
    async (place, redis, postgres) => {
      const restocked = async () => (await stockInPostgres()) === 15
      const path = `/v1/admin/products/${productId}/restock`
      expect(await killDuring(place, path, { quantity: 5 }, restocked)).toBe(place === 'after commit')
      await start()
      await untilSettled()
      expect([await stockInRedis(), await stockInPostgres()]).toEqual([redis, postgres])
      await expectConsistent(harness)
    },
  )

  it('[PRD-6, ALL-4] while it counts lost sales anew: the ranking is served all the same, and exact', async () => {
    await harness.order(1, productId)
    const server = await start({ ROLES: 'api,worker' })
    await harness.redis.del(keys.stockCounted(0), keys.stockSales(0, seoulDay(new Date())))
    const letGo = await holding(
      harness,
      (connection) => connection`lock table order_items in access exclusive mode`,
    )
    const answer = fetch(`${server.url}/v1/products/popular`).catch(() => 'no answer')
    await untilLockIsAwaited(harness, 'pool')
    expect(await harness.redis.exists(keys.jobLock('recount-0'))).toBe(1)
    await server.kill('SIGKILL')
    await letGo()
    expect(await answer).toBe('no answer')
    const { status, body } = await harness.get('/v1/products/popular')
    expect([status, body.items]).toMatchObject([200, [{ productId, soldQuantity: 1 }]])
    await expectConsistent(harness)
  })

  it('[ALL-1, ALL-2] in the middle of a run: every 201 is in Postgres, and repeats with the same key order once', async () => {
    const popular = await harness.product({ stock: 300, price: 10_000 })
    await inParallel(users(400), 100, (userId) => harness.charge(userId, 10_000))
    const call = (server: ServerProcess, userId: number) =>
      server.post(
        '/v1/orders',
        { userId, items: [{ productId: popular, quantity: 1 }] },
        { 'Idempotency-Key': 'mine' },
      )
    const first = await start()
    const answers: Answer[] = []
    await inParallel(users(400), 64, async (userId) => {
      const answer = await call(first, userId).catch(() => undefined)
      if (answer) answers.push(answer)
      if (answers.length === 120) void first.kill('SIGKILL')
    })
    const promised = answers.filter(({ status }) => status === 201).map(({ body }) => body.id)
    const second = await start()
    await untilSettled()
    const kept = (await harness.sql`select id from orders`).map(({ id }) => id)
    expect(promised.filter((id) => !kept.includes(id))).toEqual([])

    const repeats = await inParallel(users(400), 64, (userId) =>
      until(
        'an answer that is no 409',
        async () => {
          const answer = await call(second, userId)
          return answer.body.code === 'IDEMPOTENCY_IN_PROGRESS' ? undefined : answer
        },
        healedWithinMs,
      ),
    )
    expect(tally(repeats)).toEqual({ 201: 300, STOCK_INSUFFICIENT: 100 })
    const [twice] = await harness.sql`select count(*)::int as n from
      (select user_id from orders where status = 'PAID' group by user_id having count(*) > 1) t`
    expect(twice?.n).toBe(0)
    await expectConsistent(harness)
  })
})
