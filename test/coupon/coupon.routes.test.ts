import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, newPolicy, startHarness, tally } from '../setup/harness.ts'

const day = 86_400_000
let now = Date.now()
let harness: Harness
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => now } })
})
afterAll(() => harness.stop())
beforeEach(() => {
  now = Date.now()
})

const future = (ms: number) => new Date(Date.now() + ms).toISOString()

describe('POST /v1/admin/coupon-policies', () => {
  it('[CPN-2] creates a policy with its window, discount and validity, ready to be issued from', async () => {
    const body = newPolicy({ discountType: 'PERCENT', discountValue: 100, totalQuantity: 3, validDays: 1 })
    const created = await harness.admin('POST', '/v1/admin/coupon-policies', body)
    expect(created.status).toBe(201)
    expect(created.body).toEqual({ ...body, id: expect.any(Number), remainingQuantity: 3 })
    expect((await harness.get(`/v1/coupon-policies/${created.body.id}`)).body).toEqual(created.body)
  })

  it('[CPN-2] takes times with any offset and answers them with Z', async () => {
    const id = await harness.policy({
      issueStartsAt: '2026-03-01T09:00:00+09:00',
      issueEndsAt: '2099-03-01T00:00:00.5Z',
    })
    expect((await harness.get(`/v1/coupon-policies/${id}`)).body).toMatchObject({
      issueStartsAt: '2026-03-01T00:00:00.000Z',
      issueEndsAt: '2099-03-01T00:00:00.500Z',
    })
  })

  it.each([
    ['discountValue', { discountType: 'PERCENT', discountValue: 101 }],
    ['discountValue', { discountValue: 0 }],
    ['discountValue', { discountValue: 1.5 }],
    ['discountType', { discountType: 'FREE' }],
    ['totalQuantity', { totalQuantity: 0 }],
    ['totalQuantity', { totalQuantity: '5' }],
    ['totalQuantity', { totalQuantity: 100_000_001 }],
    ['validDays', { validDays: 0 }],
    ['issueEndsAt', { issueEndsAt: new Date(0).toISOString() }],
    ['issueStartsAt', { issueStartsAt: '2026-03-01' }],
    ['issueStartsAt', { issueStartsAt: '2026-02-30T00:00:00Z' }],
    ['issueStartsAt', { issueStartsAt: 1_700_000_000_000 }],
    ['name', { name: '' }],
    ['name', { name: 'a\u0000b' }],
    ['name', { name: 'x'.repeat(201) }],
    ['', { total: 5 }],
  ])('[ALL-3] refuses %s of %j and creates nothing', async (path, changes) => {
    const [before] = await harness.sql`select count(*)::int as n from coupon_policies`
    const answer = await harness.admin('POST', '/v1/admin/coupon-policies', newPolicy(changes))
    expect(tally([answer])).toEqual({ VALIDATION_FAILED: 1 })
    expect(answer.status).toBe(400)
    expect(answer.body.errors).toContainEqual({ path, message: expect.any(String) })
    expect((await harness.sql`select count(*)::int as n from coupon_policies`)[0]).toEqual(before)
  })
})

describe('POST /v1/coupon-policies/{policyId}/issue', () => {
  it('[CPN-1, ALL-1] answers 201 with the coupon that Postgres holds', async () => {
    const policyId = await harness.policy({ validDays: 7 })
    const issued = await harness.issue(policyId, 42)
    expect(issued.status).toBe(201)
    expect(issued.body).toEqual({
      id: expect.stringMatching(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/),
      policyId,
      userId: 42,
      rank: 1,
      status: 'AVAILABLE',
      discountType: 'AMOUNT',
      discountValue: 1000,
      issuedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      expiresAt: new Date(Date.parse(issued.body.issuedAt) + 7 * day).toISOString(),
      usedAt: null,
      orderId: null,
    })
    const [row] = await harness.sql`select * from coupons where id = ${issued.body.id}`
    expect(row).toMatchObject({ policy_id: policyId, user_id: 42, rank: 1, status: 'AVAILABLE' })
    expect(row?.issued_at.toISOString()).toBe(issued.body.issuedAt)
  })

  it('[CPN-3] numbers coupons 1, 2, 3 and then is sold out, with the remaining quantity exact at each step', async () => {
    const policyId = await harness.policy({ totalQuantity: 3 })
    const ranks = []
    for (let userId = 1; userId <= 3; userId++) {
      ranks.push((await harness.issue(policyId, userId)).body.rank)
      const policy = await harness.get(`/v1/coupon-policies/${policyId}`)
      expect(policy.body.remainingQuantity).toBe(3 - userId)
    }
    expect(ranks).toEqual([1, 2, 3])
    const refused = await harness.issue(policyId, 4)
    expect(refused.status).toBe(409)
    expect(tally([refused])).toEqual({ COUPON_SOLD_OUT: 1 })
    await expectExact(harness, policyId, 3)
  })

  it('[CPN-3] tells a holder the id of the coupon, also after the last unit and after the end', async () => {
    const policyId = await harness.policy({ totalQuantity: 1 })
    const { body } = await harness.issue(policyId, 1)
    const again = await harness.issue(policyId, 1)
    expect(again.status).toBe(409)
    expect(again.body).toMatchObject({ code: 'COUPON_ALREADY_ISSUED', couponId: body.id })
    await harness.redis.hset(`coupon:{${policyId}}:policy`, 'endsAt', 1)
    expect((await harness.issue(policyId, 1)).body).toMatchObject({
      code: 'COUPON_ALREADY_ISSUED',
      couponId: body.id,
    })
  })

  it('[CPN-3] still knows the holder long after the window, when Redis has forgotten', async () => {
    const policyId = await harness.policy({ issueEndsAt: future(3_600_000) })
    const { body } = await harness.issue(policyId, 1)
    now = Date.now() + 8 * day
    await harness.redis.flushdb()
    expect((await harness.issue(policyId, 1)).body).toMatchObject({
      code: 'COUPON_ALREADY_ISSUED',
      couponId: body.id,
    })
    expect(tally([await harness.issue(policyId, 2)])).toEqual({ COUPON_ENDED: 1 })
    expect((await harness.get(`/v1/coupon-policies/${policyId}`)).body.remainingQuantity).toBe(9)
  })

  it('[CPN-2] refuses before the start and after the end', async () => {
    const early = await harness.policy({ issueStartsAt: future(60_000) })
    const late = await harness.policy({ issueStartsAt: future(-60_000), issueEndsAt: future(-1000) })
    expect(tally([await harness.issue(early, 1)])).toEqual({ COUPON_NOT_STARTED: 1 })
    expect(tally([await harness.issue(late, 1)])).toEqual({ COUPON_ENDED: 1 })
    await expectExact(harness, early, 0)
    await expectExact(harness, late, 0)
  })

  it('[CPN-2, ALL-4] a grant past the end, by a window that Redis had wrong, is refused, and the window read anew', async () => {
    const policyId = await harness.policy({ issueEndsAt: new Date(Date.now() + 3_600_000).toISOString() })
    const ended = new Date(Date.now() - 1000)
    await harness.sql`update coupon_policies set issue_ends_at = ${ended} where id = ${policyId}`
    expect(tally([await harness.issue(policyId, 1)])).toEqual({ COUPON_ENDED: 1 })
    const { terms, pendingCouponIds } = await harness.deps.scripts.inspectPolicy(policyId)
    expect([terms, pendingCouponIds]).toEqual([null, []])
    await expectExact(harness, policyId, 0)
  })

  it('[ALL-3] 404 for a policy that does not exist, with all members of a problem', async () => {
    const answer = await harness.call(
      'POST',
      '/v1/coupon-policies/987654321/issue',
      { userId: 1 },
      { 'X-Request-Id': 'req-1' },
    )
    expect(answer.status).toBe(404)
    expect(answer.headers.get('Content-Type')).toBe('application/problem+json')
    expect(answer.body).toEqual({
      type: 'urn:seonchak:problem:coupon-policy-not-found',
      title: 'There is no such coupon policy',
      detail: 'There is no such coupon policy',
      status: 404,
      code: 'COUPON_POLICY_NOT_FOUND',
      instance: '/v1/coupon-policies/987654321/issue',
      requestId: 'req-1',
    })
    expect(tally([await harness.get('/v1/coupon-policies/987654321')])).toEqual({
      COUPON_POLICY_NOT_FOUND: 1,
    })
  })
})

describe('GET /v1/users/{userId}/coupons', () => {
  it('[CPN-1] lists newest first, page by page, each coupon once', async () => {
    const policyIds = []
    for (let n = 0; n < 5; n++) policyIds.push(await harness.policy())
    for (const policyId of policyIds) await harness.issue(policyId, 500)
    await harness.issue(policyIds[0] as number, 501)

    const all = await harness.get('/v1/users/500/coupons')
    expect(all.body.items.map((coupon: { policyId: number }) => coupon.policyId)).toEqual(
      policyIds.toReversed(),
    )
    expect(all.body.nextCursor).toBe(null)

    const pages = []
    let cursor = ''
    do {
      const page = await harness.get(`/v1/users/500/coupons?limit=2${cursor && `&cursor=${cursor}`}`)
      expect(page.status).toBe(200)
      pages.push(page.body.items)
      cursor = page.body.nextCursor
    } while (cursor)
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1])
    expect(pages.flat()).toEqual(all.body.items)
  })

  it('[CPN-5, CPN-6] filters by status; a coupon past its time reads as EXPIRED, whatever is stored', async () => {
    const used = await harness.policy({ validDays: 2 })
    const kept = await harness.policy({ validDays: 30 })
    const canceled = await harness.policy({ validDays: 30 })
    await harness.issue(used, 600)
    const available = (await harness.issue(kept, 600)).body
    const gone = (await harness.issue(canceled, 600)).body
    await harness.admin('POST', `/v1/admin/coupons/${gone.id}/cancel`)
    now = Date.now() + 3 * day

    const statuses = async (filter: string) =>
      (await harness.get(`/v1/users/600/coupons${filter}`)).body.items.map(
        (coupon: { status: string }) => coupon.status,
      )
    expect(await statuses('')).toEqual(['CANCELED', 'AVAILABLE', 'EXPIRED'])
    expect(await statuses('?status=AVAILABLE')).toEqual(['AVAILABLE'])
    expect(await statuses('?status=EXPIRED')).toEqual(['EXPIRED'])
    expect(await statuses('?status=CANCELED')).toEqual(['CANCELED'])
    expect(await statuses('?status=USED')).toEqual([])
    const [item] = (await harness.get('/v1/users/600/coupons?status=AVAILABLE')).body.items
    expect(item).toEqual(available)
  })

  it('[CPN-1] is empty for a user without coupons', async () => {
    expect((await harness.get('/v1/users/77777/coupons')).body).toEqual({ items: [], nextCursor: null })
  })

  it.each([
    'limit=0',
    'limit=101',
    'limit=x',
    'limit=1.5',
    'cursor=nonsense',
    'cursor=W10',
    'status=available',
  ])('[ALL-3] refuses ?%s', async (query) => {
    const answer = await harness.get(`/v1/users/1/coupons?${query}`)
    expect(tally([answer])).toEqual({ VALIDATION_FAILED: 1 })
    expect(answer.body.errors[0].path).toBe(query.split('=')[0])
  })
})

describe('POST /v1/admin/coupons/{couponId}/cancel', () => {
  it('[CPN-5] turns AVAILABLE into CANCELED, once; its rank and its holder stay taken', async () => {
    const policyId = await harness.policy({ totalQuantity: 2 })
    const { body: coupon } = await harness.issue(policyId, 1)
    const canceled = await harness.admin('POST', `/v1/admin/coupons/${coupon.id}/cancel`)
    expect(canceled.status).toBe(200)
    expect(canceled.body).toEqual({ ...coupon, status: 'CANCELED' })
    const again = await harness.admin('POST', `/v1/admin/coupons/${coupon.id}/cancel`, {})
    expect(tally([again])).toEqual({ COUPON_NOT_AVAILABLE: 1 })
    expect(tally([await harness.issue(policyId, 1)])).toEqual({ COUPON_ALREADY_ISSUED: 1 })
    expect((await harness.issue(policyId, 2)).body.rank).toBe(2)
    await expectExact(harness, policyId, 2)
  })

  it('[CPN-5] happens once when ten ask at once', async () => {
    const policyId = await harness.policy()
    const { body: coupon } = await harness.issue(policyId, 1)
    const calls = Array.from({ length: 10 }, () =>
      harness.admin('POST', `/v1/admin/coupons/${coupon.id}/cancel`),
    )
    expect(tally(await Promise.all(calls))).toEqual({ 200: 1, COUPON_NOT_AVAILABLE: 9 })
  })

  it('[CPN-6, ALL-3] refuses an expired coupon, an unknown one, and an id that is none', async () => {
    const policyId = await harness.policy({ validDays: 1 })
    const { body: coupon } = await harness.issue(policyId, 1)
    now = Date.now() + 2 * day
    const cancel = (id: string) => harness.admin('POST', `/v1/admin/coupons/${id}/cancel`)
    expect(tally([await cancel(coupon.id)])).toEqual({ COUPON_EXPIRED: 1 })
    expect(tally([await cancel('01890000-0000-7000-8000-000000000000')])).toEqual({ COUPON_NOT_FOUND: 1 })
    expect(tally([await cancel('17')])).toEqual({ VALIDATION_FAILED: 1 })
    expect((await harness.sql`select status from coupons where id = ${coupon.id}`)[0]?.status).toBe(
      'AVAILABLE',
    )
  })
})
