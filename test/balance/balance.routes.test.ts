import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { changingNothing } from '../setup/contents.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
let now = Date.now()
let harness: Harness
let userId = 0
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => now } })
})
afterAll(() => harness.stop())
beforeEach(() => {
  now = Date.now()
  userId++
})

const history = async (query = '') => (await harness.get(`/v1/users/${userId}/balance/history${query}`)).body
const chargePath = (id: number | string = userId) => `/v1/users/${id}/balance/charge`
const withKey = (key: string) => ({ 'Idempotency-Key': key })

describe('POST /v1/users/{userId}/balance/charge', () => {
  it('[BAL-1, BAL-7, ALL-1] adds to the balance and answers it, as Postgres holds it', async () => {
    const first = await harness.charge(userId, 10_000)
    expect(first.status).toBe(200)
    expect(first.body).toEqual({ userId, balance: 10_000 })
    expect((await harness.charge(userId, 25_001)).body).toEqual({ userId, balance: 35_001 })
    const [row] = await harness.sql`select balance, version from user_balances where user_id = ${userId}`
    expect(row).toEqual({ balance: 35_001, version: 2 })
    await expectConsistent(harness)
  })

  it('[BAL-7] knows users up to the largest id there can be', async () => {
    const largest = Number.MAX_SAFE_INTEGER
    expect((await harness.charge(largest, 10_000)).body).toEqual({ userId: largest, balance: 10_000 })
    expect(await harness.balance(largest)).toBe(10_000)
    expect(await harness.balance(largest - 1)).toBe(0)
  })

  it('[BAL-3] takes 10,000 and refuses 9,999, which changes nothing', async () => {
    const refused = await changingNothing(harness, () => harness.charge(userId, 9999))
    expect([refused.status, refused.body.code]).toEqual([422, 'CHARGE_BELOW_MINIMUM'])
    expect((await harness.charge(userId, 10_000)).status).toBe(200)
    expect(await harness.balance(userId)).toBe(10_000)
  })

  it('[BAL-4] reaches 9,999,999 exactly; a charge that would reach 10,000,000 changes nothing', async () => {
    const whole = await changingNothing(harness, () => harness.charge(userId, 10_000_000))
    expect([whole.status, whole.body.code]).toEqual([409, 'BALANCE_LIMIT_EXCEEDED'])
    expect((await harness.charge(userId, 9_989_999)).status).toBe(200)
    const over = await changingNothing(harness, () => harness.charge(userId, 10_001))
    expect([over.status, over.body.code]).toEqual([409, 'BALANCE_LIMIT_EXCEEDED'])
    expect((await harness.charge(userId, 10_000)).body).toEqual({ userId, balance: 9_999_999 })
    const full = await changingNothing(harness, () => harness.charge(userId, 10_000))
    expect([full.status, full.body.code]).toEqual([409, 'BALANCE_LIMIT_EXCEEDED'])
    const most = await changingNothing(harness, () => harness.charge(userId, Number.MAX_SAFE_INTEGER))
    expect([most.status, most.body.code]).toEqual([409, 'BALANCE_LIMIT_EXCEEDED'])
    await expectConsistent(harness)
  })

  it.each([
    ['amount', { amount: 0 }],
    ['amount', { amount: -10_000 }],
    ['amount', { amount: 10_000.5 }],
    ['amount', { amount: '10000' }],
    ['amount', { amount: null }],
    ['amount', { amount: 2 ** 53 }],
    ['amount', {}],
    ['', { amount: 10_000, currency: 'USD' }],
    ['', [10_000]],
    ['', '{"amount":'],
  ])('[BAL-2, ALL-3] refuses %s of %j and changes nothing', async (path, body) => {
    const answer = await changingNothing(harness, () => harness.post(chargePath(), body))
    expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(answer.headers.get('Content-Type')).toBe('application/problem+json')
    expect(answer.body.errors).toContainEqual({ path, message: expect.any(String) })
  })

  it.each(['0', '-1', '1.5', 'me', '9007199254740992'])('[ALL-3] refuses the user id %s', async (id) => {
    for (const answer of await changingNothing(harness, async () => [
      await harness.post(chargePath(id), { amount: 10_000 }),
      await harness.get(`/v1/users/${id}/balance`),
      await harness.get(`/v1/users/${id}/balance/history`),
    ])) {
      expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(answer.body.errors[0].path).toBe('userId')
    }
  })

  it('[ALL-3] refuses a body that is too large, and one of another type', async () => {
    const body = JSON.stringify({ amount: 10_000 })
    const answers = await changingNothing(harness, async () => [
      await harness.post(chargePath(), body.padEnd(65_537)),
      await harness.post(chargePath(), body, { 'Content-Type': 'text/plain' }),
    ])
    expect(answers.map((answer) => [answer.status, answer.body.code])).toEqual([
      [413, 'BODY_TOO_LARGE'],
      [415, 'UNSUPPORTED_MEDIA_TYPE'],
    ])
  })

  it('[BAL-6, ALL-3] answers BALANCE_CONFLICT when the race for the version is lost every time', async () => {
    await harness.charge(userId, 10_000)
    const lost = await losingRaces(() =>
      changingNothing(harness, () => harness.post(chargePath(), { amount: 10_000 }, withKey('race'))),
    )
    expect([lost.status, lost.body.code]).toEqual([409, 'BALANCE_CONFLICT'])
    // It had no effect, so it is not kept.
    const again = await harness.charge(userId, 10_000, withKey('race'))
    expect([again.body, again.headers.get('Idempotent-Replayed')]).toEqual([
      { userId, balance: 20_000 },
      null,
    ])
  })

  it('[BAL-6] two processes that charge the same users at once lose nothing', async () => {
    const other = await startHarness({ on: harness.on })
    const calls = Array.from({ length: 40 }, (_, n) => (n % 2 ? harness : other).charge(userId, 10_000))
    expect(tally(await Promise.all(calls))).toEqual({ 200: 40 })
    expect(await harness.balance(userId)).toBe(400_000)
    await expectConsistent(harness)
    await other.stop()
  })

  it('[ALL-3] answers 503 to what finds the queue full, and charges the rest', async () => {
    const small = await startHarness({ env: { COMMIT_MAX_QUEUE: '1' }, on: harness.on })
    const answers = await Promise.all([small.charge(userId, 10_000), small.charge(userId, 10_000)])
    expect(tally(answers)).toEqual({ 200: 1, UNAVAILABLE: 1 })
    expect(answers.find(({ status }) => status === 503)?.headers.get('Retry-After')).toBe('1')
    expect(await harness.balance(userId)).toBe(10_000)
    await small.stop()
  })
})

/** Has Postgres change no row of a balance meanwhile, as if another had always been there a moment earlier. */
async function losingRaces<Result>(act: () => Promise<Result>): Promise<Result> {
  await harness.sql`create function always_late() returns trigger language plpgsql as 'begin return null; end'`
  await harness.sql`create trigger always_late before update on user_balances
    for each row execute function always_late()`
  try {
    return await act()
  } finally {
    await harness.sql`drop function always_late cascade`
  }
}

describe('GET /v1/users/{userId}/balance', () => {
  it('[BAL-7] is 0 before the first charge, and asking leaves nothing behind', async () => {
    const answer = await changingNothing(harness, () => harness.get(`/v1/users/${userId}/balance`))
    expect(answer.status).toBe(200)
    expect(answer.body).toEqual({ userId, balance: 0 })
    expect(await history()).toEqual({ items: [], nextCursor: null })
  })
})

describe('GET /v1/users/{userId}/balance/history', () => {
  it('[BAL-1, BAL-5] has an entry for each charge, use and refund, newest first', async () => {
    const productId = await harness.product({ price: 30_000 })
    const at = [now, now + 1000, now + 2000].map((ms) => new Date(ms).toISOString())
    await harness.charge(userId, 50_000)
    now += 1000
    const { body: order } = await harness.order(userId, productId)
    expect((await harness.order(userId, productId)).status).toBe(402)
    now += 1000
    await harness.cancel(order.id)
    await harness.charge(userId, 9999)

    const id = expect.any(Number)
    const { items, nextCursor } = await history()
    expect(items).toEqual([
      { id, type: 'REFUND', amount: 30_000, balanceAfter: 50_000, orderId: order.id, createdAt: at[2] },
      { id, type: 'USE', amount: 30_000, balanceAfter: 20_000, orderId: order.id, createdAt: at[1] },
      { id, type: 'CHARGE', amount: 50_000, balanceAfter: 50_000, orderId: null, createdAt: at[0] },
    ])
    expect(items[0].createdAt).toMatch(isoTime)
    expect(nextCursor).toBe(null)
    await expectConsistent(harness)
  })

  it('[BAL-5] comes page by page, each entry once, also when more is charged meanwhile', async () => {
    for (let n = 0; n < 5; n++) await harness.charge(userId, 10_000 + n)
    const all = (await history()).items
    expect(all.map(({ amount }: { amount: number }) => amount)).toEqual([
      10_004, 10_003, 10_002, 10_001, 10_000,
    ])
    const pages = []
    let cursor = ''
    do {
      const page = await history(`?limit=2${cursor && `&cursor=${cursor}`}`)
      pages.push(page.items)
      cursor = page.nextCursor
      await harness.charge(userId, 10_000)
    } while (cursor)
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1])
    expect(pages.flat()).toEqual(all)
  })

  it.each(['limit=0', 'limit=101', 'limit=-1', 'cursor=nonsense', 'cursor=WzBd'])(
    '[ALL-3] refuses ?%s',
    async (query) => {
      const answer = await harness.get(`/v1/users/${userId}/balance/history?${query}`)
      expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(answer.body.errors[0].path).toBe(query.split('=')[0])
    },
  )
})

describe('Idempotency-Key of a charge', () => {
  const charge = (key: string, amount = 10_000, id = userId) => harness.charge(id, amount, withKey(key))

  it('[ALL-2] a repeat gets the first answer again, whatever the balance is by now', async () => {
    const first = await charge('k')
    expect(first.headers.get('Idempotent-Replayed')).toBe(null)
    await harness.charge(userId, 20_000)
    const again = await changingNothing(harness, () => charge('k'))
    expect([again.status, again.body]).toEqual([first.status, first.body])
    expect(again.headers.get('Idempotent-Replayed')).toBe('true')
    expect(again.headers.get('Content-Type')).toBe(first.headers.get('Content-Type'))
    expect(await harness.balance(userId)).toBe(30_000)
  })

  it('[ALL-2, ALL-3] another body under the key is refused, and so is one below the minimum', async () => {
    await charge('k')
    for (const amount of [10_001, 9999]) {
      const reused = await changingNothing(harness, () => charge('k', amount))
      expect([reused.status, reused.body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED'])
    }
  })

  it('[ALL-2] a refusal is not kept: the repeat is judged anew, and its body may differ', async () => {
    await harness.charge(userId, 9_990_000)
    const refused = await changingNothing(harness, () => charge('k'))
    expect(tally([refused, await charge('k')])).toEqual({ BALANCE_LIMIT_EXCEEDED: 2 })
    expect(tally([await charge('k', 9999)])).toEqual({ CHARGE_BELOW_MINIMUM: 1 })
    await harness.order(userId, await harness.product({ price: 50_000 }))
    const accepted = await charge('k', 20_000)
    expect([accepted.status, accepted.body.balance]).toEqual([200, 9_960_000])
    expect(accepted.headers.get('Idempotent-Replayed')).toBe(null)
    expect((await charge('k', 20_000)).headers.get('Idempotent-Replayed')).toBe('true')
  })

  it('[ALL-2] belongs to its user: the same key of another is another call', async () => {
    const id = userId
    expect((await charge('k', 10_000, id)).body).toEqual({ userId: id, balance: 10_000 })
    userId++
    expect((await charge('k', 20_000)).body).toEqual({ userId, balance: 20_000 })
    expect(await harness.balance(id)).toBe(10_000)
  })

  it('[ALL-3] is 1 to 255 printable characters', async () => {
    for (const key of ['', 'x'.repeat(256), 'a\u0001b', 'a\tb', 'caf\u00e9', 'a\u007f']) {
      const answer = await changingNothing(harness, () => charge(key))
      expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(answer.body.errors).toEqual([{ path: 'Idempotency-Key', message: expect.any(String) }])
    }
    for (const key of ['x', 'x'.repeat(255), `a b~!"'\\{}`]) expect((await charge(key)).status).toBe(200)
    expect(await harness.balance(userId)).toBe(30_000)
  })

  it('[ALL-2] concurrent repeats over two processes charge once', async () => {
    const other = await startHarness({ on: harness.on })
    const calls = Array.from({ length: 20 }, (_, n) =>
      (n % 2 ? harness : other).charge(userId, 10_000, withKey('same')),
    )
    const answers = await Promise.all(calls)
    expect(answers.filter(({ status }) => status !== 200).filter(isNotInProgress)).toEqual([])
    const done = answers.filter(({ status }) => status === 200)
    expect(new Set(done.map(({ body }) => JSON.stringify(body)))).toEqual(
      new Set([JSON.stringify({ userId, balance: 10_000 })]),
    )
    expect(done.filter(({ headers }) => headers.get('Idempotent-Replayed') === null).length).toBe(1)
    expect(await harness.balance(userId)).toBe(10_000)
    await other.stop()
  })
})

const isNotInProgress = ({ body }: { body: { code?: string } }) => body.code !== 'IDEMPOTENCY_IN_PROGRESS'
