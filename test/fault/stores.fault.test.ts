import { cp, rm } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { type Answer, createDatabase, type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { type PrivateStore, startPrivatePostgres, startPrivateRedis } from '../setup/private-stores.ts'
import { inParallel, type ServerProcess, startServer } from '../setup/server.ts'

const healedWithinMs = 15_000
const buyers = 400
const units = 250

let harness: Harness
let redis: PrivateStore
let postgres: PrivateStore
let server: ServerProcess
let productIds: number[]

beforeEach(async () => {
  ;[redis, postgres] = await Promise.all([startPrivateRedis(), startPrivatePostgres()])
  const database = await createDatabase(postgres.url)
  harness = await startHarness({ on: { database: database.url, redis: redis.url } })
  server = await startServer(harness.on)
  productIds = [
    await harness.product({ stock: units, price: 1000 }),
    await harness.product({ stock: 1000, price: 1000 }),
  ]
  await inParallel(users(buyers), 50, (userId) => harness.charge(userId, 10_000))
})
afterEach(async () => {
  await server.kill('SIGKILL')
  await harness.stop()
  await Promise.all([redis.remove(), postgres.remove()])
})

const users = (count: number) => Array.from({ length: count }, (_, index) => 1 + index)
const lines = () => productIds.map((productId) => ({ productId, quantity: 1 }))
const pendingCount = () => harness.redis.hlen(keys.stockPending(0))

/** A buyer orders one of each product, and repeats with the same key until the answer is decided, as clients do. */
function buy(userId: number): Promise<Answer> {
  return until(
    'a decided answer',
    async () => {
      const call = { 'Idempotency-Key': `order of ${userId}` }
      const answer = await server.post('/v1/orders', { userId, items: lines() }, call).catch(() => undefined)
      if (answer === undefined || answer.status === 503) return undefined
      return answer.body.code === 'IDEMPOTENCY_IN_PROGRESS' ? undefined : answer
    },
    40_000,
  )
}

/** All buyers buy, `fault` happening after `after` answers. Then everything must heal by itself. */
async function expectHealed(after: number, fault: () => Promise<void>): Promise<void> {
  let answered = 0
  let happening: Promise<void> | undefined
  const answers = await inParallel(users(buyers), 32, async (userId) => {
    const answer = await buy(userId)
    if (++answered === after) happening = fault()
    return answer
  })
  await happening
  const counts = tally(answers)
  const paid = counts[201] ?? 0
  // A unit held for an order whose fate is not known yet can cost a buyer a refusal; it is for sale again after.
  expect(counts).toEqual({ 201: paid, STOCK_INSUFFICIENT: buyers - paid })
  expect(paid).toBeLessThanOrEqual(units)
  const promised = answers.filter(({ status }) => status === 201).map(({ body }) => body.id)
  const kept = (await harness.sql`select id from orders where status = 'PAID'`).map(({ id }) => id)
  expect(kept.sort()).toEqual(promised.sort())

  await until(
    'stock in Redis to equal Postgres with nothing pending',
    async () => {
      const [shown, inPostgres] = await Promise.all([
        harness.redis.hmget(keys.stockAvailable(0), ...productIds.map(String)),
        harness.sql`select stock from products order by id`,
      ])
      return (await pendingCount()) === 0 && shown.join() === inPostgres.map(({ stock }) => stock).join()
    },
    healedWithinMs,
  )
  await expectConsistent(harness)

  const late = await Promise.all(
    users(units - paid + 1).map((userId) =>
      harness.order(userId, [{ productId: productIds[0] as number, quantity: 1 }]),
    ),
  )
  expect(tally(late)).toEqual({ ...(paid < units ? { 201: units - paid } : {}), STOCK_INSUFFICIENT: 1 })
}

describe('during a run of orders', () => {
  it('[ALL-4, ORD-4] Redis is flushed, twice', async () => {
    await expectHealed(80, async () => {
      await harness.redis.flushdb()
      await until(
        'more orders',
        async () => ((await harness.sql`select count(*)::int as n from orders`)[0]?.n ?? 0) > 150,
      )
      await harness.redis.flushdb()
    })
  })

  it('[ALL-4, ORD-4] Redis is killed and comes back with an older copy of its data', async () => {
    const copy = `${redis.dir}-copy`
    await harness.redis.bgrewriteaof()
    await until('the copy to be whole', async () =>
      /aof_rewrite_in_progress:0/.test(await harness.redis.info('persistence')),
    )
    await expectHealed(30, async () => {
      await cp(redis.dir, copy, { recursive: true })
      await until(
        'more orders',
        async () => ((await harness.sql`select count(*)::int as n from orders`)[0]?.n ?? 0) > 120,
      )
      await redis.kill()
      await rm(redis.dir, { recursive: true })
      await cp(copy, redis.dir, { recursive: true })
      await redis.restart()
    })
  })

  it('[ALL-4, ALL-1] Redis is away for a while, and comes back with what it had', async () => {
    await expectHealed(80, async () => {
      await redis.stop()
      await redis.restart()
    })
  })

  it('[ALL-1, ORD-4] Postgres is restarted', async () => {
    await expectHealed(80, () => postgres.restart())
  })

  it('[ALL-1, ORD-4] Postgres is killed', async () => {
    await expectHealed(80, async () => {
      await postgres.kill()
      await postgres.restart()
    })
  })
})
