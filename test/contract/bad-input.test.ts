import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, adminToken, type Harness, newPolicy, startHarness } from '../setup/harness.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`bad-input seed: TEST_SEED=${seed}`)

let harness: Harness
let policyId: number
beforeAll(async () => {
  harness = await startHarness()
  policyId = await harness.policy({ totalQuantity: 1000 })
})
afterAll(() => harness.stop())

/** Everything that a call could change, in both stores. */
async function contents() {
  const tables = await Promise.all([
    harness.sql`select * from coupon_policies order by id`,
    harness.sql`select * from coupons order by id`,
  ])
  const names = (await harness.redis.keys('*')).sort()
  const values = await Promise.all(names.map((name) => harness.redis.dump(name)))
  return JSON.stringify([tables, names, values])
}

/** Runs calls made of random input; all must be refused as invalid, in the shape of a problem, and change nothing. */
async function expectRefused<Input>(
  inputs: fc.Arbitrary<Input>,
  call: (input: Input) => Promise<Answer>,
  runs = 300,
) {
  const before = await contents()
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      const answer = await call(input)
      expect(answer.status).toBe(400)
      expect(answer.headers.get('Content-Type')).toBe('application/problem+json')
      expect(answer.body).toMatchObject({ status: 400, code: 'VALIDATION_FAILED', errors: expect.any(Array) })
      expect(answer.body.errors.length).toBeGreaterThan(0)
    }),
    { seed, numRuns: runs },
  )
  expect(await contents()).toBe(before)
}

const isUserId = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0
const isJson = (text: string) => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
const issuePath = () => `/v1/coupon-policies/${policyId}/issue`
const admin = { Authorization: `Bearer ${adminToken}` }

describe('bodies', () => {
  it('[ALL-3] that are no JSON', () =>
    expectRefused(
      fc.string({ unit: 'binary' }).filter((text) => !isJson(text)),
      (body) => harness.post(issuePath(), body),
    ))

  it('[ALL-3] that are JSON of any other shape', () =>
    expectRefused(
      fc.jsonValue().filter((value) => !(isObject(value) && Object.keys(value).join() === 'userId')),
      (body) => harness.post(issuePath(), JSON.stringify(body)),
    ))

  it('[ALL-3] whose user id is of any other type or out of range', () =>
    expectRefused(
      fc
        .oneof(
          fc.jsonValue(),
          fc.double(),
          fc.integer({ max: 0 }),
          fc.constantFrom(2 ** 53, 1e300, '1', '١', [1], { $gt: 0 }),
        )
        .filter((value) => !isUserId(value)),
      (userId) => harness.post(issuePath(), JSON.stringify({ userId })),
    ))

  it('[ALL-3] that say more than is asked', () =>
    expectRefused(
      fc.string().filter((name) => name !== 'userId'),
      (name) =>
        harness.post(
          issuePath(),
          JSON.stringify(
            Object.fromEntries([
              ['userId', 1],
              [name, 1],
            ]),
          ),
        ),
    ))

  it('[ALL-3, CPN-2] of policies with one member broken or missing', () =>
    expectRefused(
      fc
        .tuple(
          fc.constantFrom(...Object.keys(newPolicy())),
          fc.oneof(
            fc.constantFrom(
              undefined,
              null,
              '',
              -1,
              0,
              1.5,
              1e15,
              '\u0000',
              [],
              {},
              true,
              'tomorrow',
              '2026-13-01T00:00:00Z',
            ),
          ),
        )
        .filter(
          ([name, value]) =>
            !(name === 'discountValue' && value === 1e15) &&
            !(name === 'name' && /^\w/.test(String(value)) && typeof value === 'string'),
        ),
      ([name, value]) =>
        harness.call(
          'POST',
          '/v1/admin/coupon-policies',
          JSON.stringify(newPolicy({ [name]: value })),
          admin,
        ),
    ))
})

describe('paths and queries', () => {
  const badId = fc
    .oneof(
      fc.string(),
      fc.double().map(String),
      fc.bigInt().map(String),
      fc.constantFrom('0', '-1', '+1', '01', '1e3', '0x1', '9007199254740993'),
    )
    .filter(
      (text) => /^[^/?#.]+$/.test(text) && !(/^[1-9]\d*$/.test(text) && Number.isSafeInteger(Number(text))),
    )

  it('[ALL-3] whose ids are none', async () => {
    await expectRefused(badId, (text) => harness.get(`/v1/coupon-policies/${encodeURIComponent(text)}`))
    await expectRefused(badId, (text) => harness.get(`/v1/users/${encodeURIComponent(text)}/coupons`))
    await expectRefused(badId, (text) =>
      harness.post(`/v1/coupon-policies/${encodeURIComponent(text)}/issue`, { userId: 1 }),
    )
    await expectRefused(badId, (text) =>
      harness.call('POST', `/v1/admin/coupons/${encodeURIComponent(text)}/cancel`, undefined, admin),
    )
  })

  it('[ALL-3] whose cursor was not made here', () =>
    expectRefused(
      fc.oneof(
        fc.string({ minLength: 1 }),
        fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')),
      ),
      (cursor) => harness.get(`/v1/users/1/coupons?cursor=${encodeURIComponent(cursor)}`),
    ))
})

describe('times that a store or an answer cannot hold', () => {
  const lastMs = 253_402_300_799_999
  const uuid = '0192f0c1-7c1e-7000-8000-000000000000'
  const page = (list: string, ms: number) =>
    harness.get(`/v1/users/1/${list}?cursor=${Buffer.from(JSON.stringify([ms, uuid])).toString('base64url')}`)

  it.each(['orders', 'coupons'])('[ALL-3] are no cursors of %s', async (list) => {
    const outside = fc.oneof(
      fc.integer({ max: -1 }),
      fc.maxSafeInteger().map((ms) => lastMs + 1 + (Math.abs(ms) % (Number.MAX_SAFE_INTEGER - lastMs))),
      fc.constantFrom(-62_167_219_200_001, -8_640_000_000_000_001, lastMs + 1, Number.MAX_SAFE_INTEGER),
    )
    await expectRefused(outside, (ms) => page(list, ms), 100)
    for (const ms of [0, lastMs]) expect((await page(list, ms)).status).toBe(200)
  })

  it('[ALL-3, CPN-2] are no times of a policy, whatever their offset', async () => {
    const create = (changes: Record<string, unknown>) =>
      harness.call('POST', '/v1/admin/coupon-policies', newPolicy(changes), admin)
    const outside = fc.constantFrom(
      { issueStartsAt: '0000-01-01T00:00:00Z' },
      { issueStartsAt: '0001-01-01T00:00:00+23:59' },
      { issueStartsAt: '1969-12-31T23:59:59.999Z' },
      { issueStartsAt: '1970-01-01T00:00:00+00:01' },
      { issueEndsAt: '9999-12-31T23:59:59-23:59' },
      { issueEndsAt: '9999-12-31T23:59:59.999-00:01' },
    )
    await expectRefused(outside, create, 20)
    const first = { issueStartsAt: '1970-01-01T00:01:00+00:01', issueEndsAt: '9999-12-31T23:59:59.999Z' }
    const { status, body } = await create(first)
    expect([status, body.issueStartsAt]).toEqual([201, '1970-01-01T00:00:00.000Z'])
    expect((await harness.get(`/v1/coupon-policies/${body.id}`)).body).toEqual(body)
  })

  it('[ALL-3, PRD-7] are no dates of snapshots: none is there, and none is taken', async () => {
    const dates = ['0000-01-01', '0001-01-01', '1969-12-31', '1970-01-01']
    const take = (date: string) => harness.call('POST', '/v1/admin/popular/snapshots', { date }, admin)
    await expectRefused(fc.constantFrom(...dates), take, 10)
    for (const date of dates) {
      const { status, body } = await harness.get(`/v1/products/popular/snapshots/${date}`)
      expect([status, body.code]).toEqual([404, 'SNAPSHOT_NOT_FOUND'])
    }
    expect(await take('1970-01-02')).toMatchObject({ status: 200, body: { date: '1970-01-02', items: [] } })
  })
})

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
