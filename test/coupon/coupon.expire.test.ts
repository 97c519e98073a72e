import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { expireCoupons } from '../../src/coupon/coupon.expire.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'

const day = 24 * 3_600_000

let now: number
let harness: Harness
beforeEach(async () => {
  now = Date.now()
  harness = await startHarness({ ambient: { now: () => now } })
})
afterEach(() => harness.stop())

describe('the expiry job', () => {
  it('[CPN-5, CPN-6] marks what is past its time, in batches, and only that', async () => {
    const short = await harness.policy({ validDays: 1, totalQuantity: 5000 })
    const long = await harness.policy({ validDays: 30 })
    const { body: kept } = await harness.issue(long, 1)
    const { body: gone } = await harness.issue(short, 1)
    await harness.sql`insert into coupons (id, policy_id, user_id, rank, issued_at, expires_at)
      select gen_random_uuid(), ${short}, n, n, ${gone.issuedAt}, ${gone.expiresAt} from generate_series(2, 2500) n`
    await harness.sql`update coupon_policies set issued_quantity = 2500 where id = ${short}`
    expect(await expireCoupons(harness.deps.db, new Date(now))).toBe(0)

    now += 2 * day
    const statuses = async () =>
      (await harness.get('/v1/users/1/coupons')).body.items.map(({ status }: { status: string }) => status)
    expect(await statuses()).toEqual(['EXPIRED', 'AVAILABLE'])
    expect(await expireCoupons(harness.deps.db, new Date(now))).toBe(2500)
    expect(await expireCoupons(harness.deps.db, new Date(now))).toBe(0)
    expect(await statuses()).toEqual(['EXPIRED', 'AVAILABLE'])
    const [row] = await harness.sql`select status from coupons where id = ${kept.id}`
    expect(row?.status).toBe('AVAILABLE')
    const productId = await harness.product()
    expect(tally([await harness.order(1, productId, { couponId: gone.id })])).toEqual({ COUPON_EXPIRED: 1 })
  })

  it('[CPN-5] passes over a coupon that an order holds locked, without waiting for it', async () => {
    const policyId = await harness.policy({ validDays: 1 })
    const { body: locked } = await harness.issue(policyId, 1)
    await harness.issue(policyId, 2)
    const holder = await harness.sql.reserve()
    await holder`begin`
    await holder`select 1 from coupons where id = ${locked.id} for update`
    expect(await expireCoupons(harness.deps.db, new Date(now + 2 * day))).toBe(1)
    await holder`rollback`
    holder.release()
    expect(await expireCoupons(harness.deps.db, new Date(now + 2 * day))).toBe(1)
  })
})
