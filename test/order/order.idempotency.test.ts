import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { changingNothing } from '../setup/contents.ts'
import { gated } from '../setup/gate.ts'
import { type Answer, type Harness, startHarness, tally, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

let aheadMs = 0
let harness: Harness
let userId = 0
let productId: number
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => Date.now() + aheadMs } })
})
afterAll(() => harness.stop())
beforeEach(async () => {
  userId++
  productId = await harness.product({ price: 10_000, stock: 2 })
})

const order = (key: string, quantity = 1) => harness.order(userId, [{ productId, quantity }], { key })
const isReplayed = ({ headers }: Answer) => headers.get('Idempotent-Replayed') === 'true'
const orderCount = async () =>
  (await harness.sql`select count(*)::int as n from orders where user_id = ${userId}`)[0]?.n

/** The second answer must be the first one again: its status, body and type, marked as repeated. */
function expectReplay(again: Answer, first: Answer) {
  expect([again.status, again.body]).toEqual([first.status, first.body])
  expect(again.headers.get('Content-Type')).toBe(first.headers.get('Content-Type'))
  expect([isReplayed(first), isReplayed(again)]).toEqual([false, true])
}

const badKeys = ['', 'x'.repeat(256), 'a\u0001b', 'caf\u00e9', 'a\u007f']

describe('Idempotency-Key of an order', () => {
  it('[ALL-2] a repeat gets the order again, also when everything is sold out and the money is gone', async () => {
    await harness.charge(userId, 20_000)
    const first = await order('k')
    expect(first.status).toBe(201)
    await order('other')
    expectReplay(await changingNothing(harness, () => order('k')), first)
    // It is the answer that is kept, not a look at the order.
    await harness.cancel(first.body.id)
    expectReplay(await changingNothing(harness, () => order('k')), first)
    await expectConsistent(harness)
  })

  it('[ALL-2, ORD-5] a repeat of a 402 gets that 402 again, also when the balance would do by now', async () => {
    const first = await order('k')
    expect(first.status).toBe(402)
    await harness.charge(userId, 50_000)
    expectReplay(await changingNothing(harness, () => order('k')), first)
    expect((await harness.get(`/v1/orders/${first.body.orderId}`)).body.status).toBe('FAILED')
    expect(await orderCount()).toBe(1)
    await expectConsistent(harness)
  })

  it('[ALL-2, ALL-3] another body under the key is refused, whatever is different in it', async () => {
    await harness.charge(userId, 50_000)
    const { id: couponId } = (await harness.issue(await harness.policy(), userId)).body
    await order('k')
    const other = await harness.product()
    const key = 'k'
    const answers = await changingNothing(harness, async () => [
      await order('k', 2),
      await harness.order(userId, other, { key }),
      await harness.order(userId, [{ productId, quantity: 1 }], { key, couponId }),
      await harness.order(userId, 987_654_321, { key }),
    ])
    expect(tally(answers)).toEqual({ IDEMPOTENCY_KEY_REUSED: 4 })
    expect(answers[0]?.status).toBe(422)
  })

  it('[ALL-2] the same body in other words is the same body', async () => {
    await harness.charge(userId, 10_000)
    const first = await order('k')
    const text = `{ "items": [ { "quantity": 1.0, "productId": ${productId} } ], "userId": ${userId} }`
    expectReplay(await harness.post('/v1/orders', text, { 'Idempotency-Key': 'k' }), first)
  })

  it('[ALL-2] a refusal that changed nothing is not kept: the repeat is judged anew, and may succeed', async () => {
    await harness.charge(userId, 50_000)
    const short = await changingNothing(harness, () => order('k', 3))
    expect(short.body.code).toBe('STOCK_INSUFFICIENT')
    expect(tally([await order('k', 3)])).toEqual({ STOCK_INSUFFICIENT: 1 })
    await harness.admin('POST', `/v1/admin/products/${productId}/restock`, { quantity: 1 })
    const first = await order('k', 3)
    expect(first.status).toBe(201)
    expectReplay(await order('k', 3), first)
  })

  it('[ALL-2] a refused key is free for another body', async () => {
    await harness.charge(userId, 50_000)
    expect(tally([await order('k', 3)])).toEqual({ STOCK_INSUFFICIENT: 1 })
    expect((await order('k', 1)).status).toBe(201)
    expect(tally([await order('k', 3)])).toEqual({ IDEMPOTENCY_KEY_REUSED: 1 })
  })

  it('[ALL-2] belongs to user and route: elsewhere the same key is another call', async () => {
    await harness.charge(userId, 10_000, { 'Idempotency-Key': 'k' })
    const first = await order('k')
    expect([first.status, isReplayed(first)]).toEqual([201, false])
    await harness.charge(userId + 10_000, 10_000)
    const theirs = await harness.order(userId + 10_000, productId, { key: 'k' })
    expect([theirs.status, isReplayed(theirs)]).toEqual([201, false])
    const canceled = await harness.cancel(first.body.id, 'k')
    expect([canceled.status, isReplayed(canceled)]).toEqual([200, false])
    await expectConsistent(harness)
  })

  it.each(badKeys)('[ALL-3] is 1 to 255 printable characters: %j is none', async (key) => {
    await harness.charge(userId, 10_000)
    const answer = await changingNothing(harness, () => order(key))
    expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(answer.body.errors).toEqual([{ path: 'Idempotency-Key', message: expect.any(String) }])
  })

  it('[ALL-2] takes a key of 255 characters', async () => {
    await harness.charge(userId, 10_000)
    const first = await order('~'.repeat(255))
    expectReplay(await order('~'.repeat(255)), first)
  })

  it.each([
    ['paid', 30_000, 201],
    ['not paid for', 10_000, 402],
  ])('[ALL-2] 24 concurrent repeats over two processes, %s: one order', async (_, charged, status) => {
    await harness.charge(userId, charged)
    const answers = await concurrently(24, (on) => on.order(userId, lines(2), { key: 'k' }))
    expectOneAnswer(answers, status)
    expect(await orderCount()).toBe(1)
    await expectConsistent(harness)
  })

  it('[ALL-2] concurrent calls with one key and two bodies: one order, the other body is refused', async () => {
    await harness.charge(userId, 30_000)
    const answers = await concurrently(16, (on, n) =>
      on.order(userId, lines(n % 4 < 2 ? 1 : 2), { key: 'k' }),
    )
    const counts = tally(answers)
    expect(
      Object.keys(counts)
        .filter((code) => code !== 'IDEMPOTENCY_IN_PROGRESS')
        .sort(),
    ).toEqual(['201', 'IDEMPOTENCY_KEY_REUSED'])
    expect(await orderCount()).toBe(1)
    await expectConsistent(harness)
  })

  it('[ALL-2] a repeat while the first is still running is told so after a while, and later gets its answer', async () => {
    await harness.charge(userId, 10_000)
    const { post, open } = gated(harness, 'commit')
    const body = { userId, items: lines(1) }
    const first = post('/v1/orders', body, { 'Idempotency-Key': 'k' })
    await until('the entry', async () => (await harness.redis.hlen(keys.stockPending(0))) === 1)
    const patience = setInterval(() => (aheadMs += 500), 10)
    const early = await changingNothing(harness, () => order('k'))
    clearInterval(patience)
    aheadMs = 0
    expect([early.status, early.body.code]).toEqual([409, 'IDEMPOTENCY_IN_PROGRESS'])
    open()
    expect((await first).status).toBe(201)
    expectReplay(await order('k'), await first)
    await expectConsistent(harness)
  })

  it('[ALL-2] the claim of a call is renewed for as long as it runs, and ends with it', async () => {
    await harness.charge(userId, 10_000)
    const { post, open } = gated(harness, 'commit')
    const claims = () => harness.redis.keys(keys.idempotencyClaim('*'))
    const ofOthers = await claims()
    const first = post('/v1/orders', { userId, items: lines(1) }, { 'Idempotency-Key': 'k' })
    await until('the entry', async () => (await harness.redis.hlen(keys.stockPending(0))) === 1)
    const [claim = ''] = (await claims()).filter((key) => !ofOthers.includes(key))
    let left = await harness.redis.pttl(claim)
    expect(left).toBeLessThanOrEqual(2500)
    await until('the claim to be renewed', async () => {
      const before = left
      left = await harness.redis.pttl(claim)
      return left > before
    })
    open()
    expect((await first).status).toBe(201)
    await until('the claim to end', async () => (await harness.redis.exists(claim)) === 0)
  })

  it('[ALL-2] a 503 is not kept: the repeat is judged anew', async () => {
    await harness.charge(userId, 20_000)
    const small = await startHarness({ env: { COMMIT_MAX_QUEUE: '1' }, on: harness.on })
    const ask = (key: string) => small.order(userId, lines(1), { key })
    const answers = await Promise.all([ask('k'), ask('l')])
    expect(tally(answers)).toEqual({ 201: 1, UNAVAILABLE: 1 })
    const again = await Promise.all(['k', 'l'].map((key) => order(key)))
    expect(tally(again)).toEqual({ 201: 2 })
    expect(again.map(isReplayed)).toEqual(answers.map(({ status }) => status === 201))
    await small.stop()
  })

  it.each([
    ['one body', 1, [402, 402]],
    ['two bodies', 2, [402, 422]],
  ])(
    '[ALL-2, ALL-4] two calls with %s that run at once, as Redis has lost the claim: one order',
    async (_, of, statuses) => {
      const other = await harness.product({ price: 10_000 })
      const held = [productId, of === 1 ? productId : other].map((id) => ({
        ...gated(harness, 'commit'),
        body: { userId, items: [{ productId: id, quantity: 1 }] },
      }))
      const answers: Promise<Answer>[] = []
      for (const { post, body } of held) {
        const claims = await harness.redis.keys(keys.idempotencyClaim('*'))
        if (claims.length > 0) await harness.redis.del(claims)
        const count = answers.push(post('/v1/orders', body, { 'Idempotency-Key': 'k' }))
        await until('the entry', async () => (await harness.redis.hlen(keys.stockPending(0))) === count)
      }
      for (const { open } of held) open()
      const given = await Promise.all(answers)
      expect(given.map(({ status }) => status).sort()).toEqual(statuses)
      expect(await orderCount()).toBe(1)
      await expectConsistent(harness)
    },
  )

  const lines = (quantity: number) => [{ productId, quantity }]
})

describe('Idempotency-Key of a cancel', () => {
  const paid = async () => {
    await harness.charge(userId, 20_000)
    return (await harness.order(userId, [{ productId, quantity: 2 }])).body
  }

  it('[ALL-2] a repeat may spell the id of the order in upper case', async () => {
    const { id } = await paid()
    const first = await harness.cancel(id, 'k')
    expectReplay(await changingNothing(harness, () => harness.cancel(id.toUpperCase(), 'k')), first)
  })

  it('[ALL-2, ORD-6] a repeat gets the cancelled order again, without the key it is no longer cancelable', async () => {
    const { id } = await paid()
    const first = await harness.cancel(id, 'k')
    expect(first.status).toBe(200)
    const [again, bare, otherKey] = await changingNothing(harness, async () => [
      await harness.cancel(id, 'k'),
      await harness.cancel(id),
      await harness.cancel(id, 'another'),
    ])
    expectReplay(again as Answer, first)
    expect(tally([bare as Answer, otherKey as Answer])).toEqual({ ORDER_NOT_CANCELABLE: 2 })
    expect(await harness.balance(userId)).toBe(20_000)
  })

  it('[ALL-2, BAL-4] a refusal is not kept: with room for the refund the repeat goes through', async () => {
    const { id } = await paid()
    await harness.charge(userId, 9_980_000)
    expect(tally([await harness.cancel(id, 'k')])).toEqual({ BALANCE_LIMIT_EXCEEDED: 1 })
    await harness.order(userId, await harness.product({ price: 1 }))
    const first = await harness.cancel(id, 'k')
    expect([first.status, isReplayed(first)]).toEqual([200, false])
    expectReplay(await harness.cancel(id, 'k'), first)
    await expectConsistent(harness)
  })

  it('[ALL-2] the same key cancels another order', async () => {
    await harness.cancel((await paid()).id, 'k')
    const { body: next } = await harness.order(userId, productId)
    const canceled = await harness.cancel(next.id, 'k')
    expect([canceled.status, canceled.body.id, isReplayed(canceled)]).toEqual([200, next.id, false])
  })

  it.each(badKeys)('[ALL-3] is 1 to 255 printable characters: %j is none', async (key) => {
    const { id } = await paid()
    const answer = await changingNothing(harness, () => harness.cancel(id, key))
    expect([answer.status, answer.body.errors]).toEqual([
      400,
      [{ path: 'Idempotency-Key', message: expect.any(String) }],
    ])
  })

  it('[ALL-2, ORD-6] 20 concurrent repeats over two processes: one refund', async () => {
    const { id } = await paid()
    expectOneAnswer(await concurrently(20, (on) => on.cancel(id, 'k')), 200)
    expect(await harness.balance(userId)).toBe(20_000)
    await expectConsistent(harness)
  })
})

/** Calls at once, by turns through two processes over the same stores. */
async function concurrently(count: number, call: (on: Harness, n: number) => Promise<Answer>) {
  const other = await startHarness({ on: harness.on })
  try {
    return await Promise.all(Array.from({ length: count }, (_, n) => call(n % 2 ? other : harness, n)))
  } finally {
    await other.stop()
  }
}

/** Every answer is the one answer, or tells that the first call is still running; one of them is the first. */
function expectOneAnswer(answers: Answer[], status: number) {
  const given = answers.filter(({ body }) => body.code !== 'IDEMPOTENCY_IN_PROGRESS')
  expect(new Set(given.map((answer) => answer.status))).toEqual(new Set([status]))
  expect(new Set(given.map(({ body }) => JSON.stringify(body))).size).toBe(1)
  expect(given.filter((answer) => !isReplayed(answer)).length).toBe(1)
}
