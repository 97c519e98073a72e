import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { changingNothing } from '../setup/contents.ts'
import { adminToken, type Harness, newPolicy, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

let harness: Harness
let second: Harness
let productId: number
beforeAll(async () => {
  harness = await startHarness()
  second = await startHarness({ on: harness.on })
  productId = await harness.product({ stock: 3 })
})
afterAll(async () => {
  await second.stop()
  await harness.stop()
})

const send = (path: string, body: unknown, key: string, on = harness) =>
  on.call('POST', path, body, { Authorization: `Bearer ${adminToken}`, 'Idempotency-Key': key })
const policy = newPolicy()
/** The writes of the operator whose effect would double, with a body, another, and the table that grows by one row. */
const writes = () =>
  [
    [
      '/v1/admin/products',
      { name: 'Comb', price: 5, stock: 7 },
      { name: 'Comb', price: 6, stock: 7 },
      'products',
    ],
    [`/v1/admin/products/${productId}/restock`, { quantity: 4 }, { quantity: 5 }, 'restocks'],
    ['/v1/admin/coupon-policies', policy, { ...policy, validDays: 31 }, 'coupon_policies'],
  ] as const

const countOf = async (table: string) => (await harness.sql`select from ${harness.sql(table)}`).length

describe('Idempotency-Key of a write of the operator', () => {
  it('[ALL-2] a repeat gets the answer again and has no effect; another body is refused', async () => {
    for (const [path, body, other, table] of writes()) {
      const before = await countOf(table)
      const first = await send(path, body, 'k')
      expect([200, 201], path).toContain(first.status)
      expect(first.headers.get('Idempotent-Replayed')).toBeNull()
      for (const on of [harness, second]) {
        const again = await changingNothing(harness, () => send(path, body, 'k', on))
        expect([again.status, again.body], path).toEqual([first.status, first.body])
        expect(again.headers.get('Idempotent-Replayed')).toBe('true')
      }
      const reused = await changingNothing(harness, () => send(path, other, 'k'))
      expect([reused.status, reused.body.code], path).toEqual([422, 'IDEMPOTENCY_KEY_REUSED'])
      expect(await countOf(table), path).toBe(before + 1)
      expect((await send(path, body, 'another')).status).toBe(first.status)
      expect(await countOf(table), path).toBe(before + 2)
    }
    expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(3 + 2 * 4)
    await expectConsistent(harness)
  })

  it('[ALL-2] many at once with one key, over two processes, have one effect', async () => {
    for (const [path, body, , table] of writes()) {
      const before = await countOf(table)
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, n) => send(path, body, 'at once', n % 2 ? harness : second)),
      )
      expect(new Set(answers.map((answer) => JSON.stringify(answer.body))).size, path).toBe(1)
      const fresh = answers.filter(({ headers }) => headers.get('Idempotent-Replayed') === null)
      expect(fresh.length, path).toBe(1)
      expect(await countOf(table), path).toBe(before + 1)
    }
    await expectConsistent(harness)
  })

  it('[ALL-2, ALL-3] a refusal is not kept, and a key that is none is refused', async () => {
    const unknown = '/v1/admin/products/987654321/restock'
    const refused = [await send(unknown, { quantity: 1 }, 'r'), await send(unknown, { quantity: 2 }, 'r')]
    expect(tally(refused)).toEqual({ PRODUCT_NOT_FOUND: 2 })
    const over = `/v1/admin/products/${productId}/restock`
    expect(tally([await send(over, { quantity: 1_000_000_000 }, 'r')])).toEqual({ VALIDATION_FAILED: 1 })
    expect((await send(over, { quantity: 1 }, 'r')).status).toBe(200)
    for (const [path, body] of writes()) {
      const { body: problem } = await changingNothing(harness, () => send(path, body, 'x'.repeat(256)))
      expect(problem).toMatchObject({ code: 'VALIDATION_FAILED', errors: [{ path: 'Idempotency-Key' }] })
    }
    await expectConsistent(harness)
  })

  it('[ALL-2] keeps users out of the keys of the operator, and the operator out of theirs', async () => {
    const charged = await harness.charge(1, 10_000, { 'Idempotency-Key': 'k' })
    expect([charged.status, charged.headers.get('Idempotent-Replayed')]).toEqual([200, null])
    const users =
      await harness.sql`select distinct user_id from idempotency_keys where route like 'POST /v1/admin/%'`
    expect(users).toEqual([{ user_id: 0 }])
  })
})

describe('the log', () => {
  it('[ALL-3] names the request in what it says of the writes and of the audit of the operator', async () => {
    const lines: { msg: string; requestId?: string }[] = []
    const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
    const logging = await startHarness({ on: harness.on, ambient: { log } })
    const headers = { Authorization: `Bearer ${adminToken}`, 'X-Request-Id': 'mine' }
    const key = keys.stockAvailable(0)
    const units = Number(await harness.redis.hget(key, String(productId)))
    await harness.redis.hset(key, String(productId), units + 1)
    expect((await logging.call('POST', '/v1/admin/audit', { repair: true }, headers)).status).toBe(200)
    logging.redis.disconnect()
    const body = { name: 'Comb', price: 5, stock: 7 }
    expect((await logging.call('POST', '/v1/admin/products', body, headers)).status).toBe(201)
    await logging.stop()
    const said = lines.map(({ msg, requestId }) => [msg, requestId])
    expect(said).toContainEqual(['the audit changed Redis', 'mine'])
    expect(said).toContainEqual(['new product not loaded yet', 'mine'])
  })
})
