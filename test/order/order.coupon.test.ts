import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { changingNothing } from '../setup/contents.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'

const nobodys = '01890000-0000-7000-8000-000000000000'
let now = Date.now()
let harness: Harness
let userId = 0
let productId: number
beforeAll(async () => {
  harness = await startHarness({ ambient: { now: () => now } })
})
afterAll(() => harness.stop())
beforeEach(async () => {
  now = Date.now()
  userId++
  productId = await harness.product({ price: 1000 })
  await harness.charge(userId, 100_000)
})

/** Issues a coupon of a new policy to the user. */
async function couponOf(policy: Record<string, unknown>, of = userId) {
  return (await harness.issue(await harness.policy(policy), of)).body
}
const storedCoupon = async (id: string) =>
  (await harness.sql`select status, used_at, order_id from coupons where id = ${id}`)[0]
const listed = async () => (await harness.get(`/v1/users/${userId}/coupons`)).body.items

describe('an order with a coupon', () => {
  it('[CPN-5, CPN-7, ORD-4] pays the total less the amount, and the coupon is USED by it', async () => {
    const coupon = await couponOf({ discountType: 'AMOUNT', discountValue: 700 })
    now += 5000
    const { status, body: order } = await harness.order(userId, [{ productId, quantity: 2 }], {
      couponId: coupon.id,
    })
    expect(status).toBe(201)
    expect(order).toMatchObject({
      status: 'PAID',
      totalAmount: 2000,
      discountAmount: 700,
      finalAmount: 1300,
      couponId: coupon.id,
      payment: { status: 'COMPLETED', amount: 1300 },
    })
    expect(await harness.balance(userId)).toBe(100_000 - 1300)
    expect((await harness.get(`/v1/orders/${order.id}`)).body).toEqual(order)
    expect(await listed()).toEqual([
      { ...coupon, status: 'USED', usedAt: new Date(now).toISOString(), orderId: order.id },
    ])
    await expectConsistent(harness)
  })

  it.each([
    { percent: 1, price: 199, discount: 1 },
    { percent: 1, price: 99, discount: 0 },
    { percent: 33, price: 1000, discount: 330 },
    { percent: 33, price: 101, discount: 33 },
    { percent: 99, price: 2, discount: 1 },
    { percent: 99, price: 101, discount: 99 },
    { percent: 7, price: 99_999_999, discount: 6_999_999 },
  ])(
    '[CPN-2] $percent % of $price is $discount: rounded down to a won',
    async ({ percent, price, discount }) => {
      const coupon = await couponOf({ discountType: 'PERCENT', discountValue: percent })
      const id = await harness.product({ price })
      const { body } = await harness.order(userId, id, { couponId: coupon.id })
      // The dear one is not affordable; its FAILED order tells the same amounts.
      const order = body.orderId ? (await harness.get(`/v1/orders/${body.orderId}`)).body : body
      expect([order.totalAmount, order.discountAmount, order.finalAmount]).toEqual([
        price,
        discount,
        price - discount,
      ])
      await expectConsistent(harness)
    },
  )

  it('[CPN-7] discounts the total of all lines, once', async () => {
    const other = await harness.product({ price: 333 })
    const coupon = await couponOf({ discountType: 'PERCENT', discountValue: 10 })
    const lines = [
      { productId, quantity: 3 },
      { productId: other, quantity: 3 },
    ]
    const { body } = await harness.order(userId, lines, { couponId: coupon.id })
    expect([body.totalAmount, body.discountAmount, body.finalAmount]).toEqual([3999, 399, 3600])
  })

  it.each([
    ['AMOUNT', 999, 201],
    ['AMOUNT', 1000, 422],
    ['AMOUNT', 1001, 422],
    ['PERCENT', 99, 201],
    ['PERCENT', 100, 422],
  ])('[CPN-8] a total of 1,000 less %s %i: %i', async (discountType, discountValue, status) => {
    const { id: couponId } = await couponOf({ discountType, discountValue })
    if (status === 422) {
      const refused = await changingNothing(harness, () => harness.order(userId, productId, { couponId }))
      expect([refused.status, refused.body.code]).toEqual([422, 'FINAL_AMOUNT_NOT_POSITIVE'])
    } else {
      expect((await harness.order(userId, productId, { couponId })).status).toBe(status)
    }
    await expectConsistent(harness)
  })

  it('[CPN-5, ALL-3] 409 for a coupon that is used, also by the same basket', async () => {
    const { id: couponId } = await couponOf({})
    const items = [{ productId, quantity: 2 }]
    expect((await harness.order(userId, items, { couponId })).status).toBe(201)
    const again = await changingNothing(harness, () => harness.order(userId, items, { couponId }))
    expect([again.status, again.body.code]).toEqual([409, 'COUPON_NOT_AVAILABLE'])
    expect(again.body.detail).toBe('The coupon is USED.')
  })

  it('[CPN-5, ALL-3] 409 for a coupon that was cancelled, also past its time', async () => {
    const coupon = await couponOf({ validDays: 1 })
    await harness.admin('POST', `/v1/admin/coupons/${coupon.id}/cancel`)
    for (const ms of [now, Date.parse(coupon.expiresAt)]) {
      now = ms
      const refused = await changingNothing(harness, () =>
        harness.order(userId, productId, { couponId: coupon.id }),
      )
      expect([refused.status, refused.body.code]).toEqual([409, 'COUPON_NOT_AVAILABLE'])
      expect(refused.body.detail).toBe('The coupon is CANCELED.')
    }
  })

  it('[CPN-6] goes by the clock to the millisecond, whatever the stored status says', async () => {
    const [late, early] = [await couponOf({ validDays: 1 }), await couponOf({ validDays: 1 })]
    now = Date.parse(late.expiresAt)
    const items = [{ productId, quantity: 2 }]
    const refused = await changingNothing(harness, () => harness.order(userId, items, { couponId: late.id }))
    expect([refused.status, refused.body.code]).toEqual([409, 'COUPON_EXPIRED'])
    expect((await storedCoupon(late.id))?.status).toBe('AVAILABLE')
    now = Date.parse(early.expiresAt) - 1
    expect((await harness.order(userId, items, { couponId: early.id })).status).toBe(201)
  })

  it('[CPN-5, ALL-3] 409 for a coupon that is stored as EXPIRED', async () => {
    const { id: couponId } = await couponOf({})
    await harness.sql`update coupons set status = 'EXPIRED' where id = ${couponId}`
    const refused = await changingNothing(harness, () => harness.order(userId, productId, { couponId }))
    expect([refused.status, refused.body.code]).toEqual([409, 'COUPON_EXPIRED'])
  })

  it('[ALL-3] 404 for a coupon that does not exist, and for that of another user, used or not', async () => {
    const { id: theirs } = await couponOf({}, userId + 10_000)
    await harness.charge(userId + 10_000, 10_000)
    const order = (couponId: string) =>
      changingNothing(harness, () => harness.order(userId, [{ productId, quantity: 2 }], { couponId }))
    expect(tally([await order(nobodys), await order(theirs)])).toEqual({ COUPON_NOT_FOUND: 2 })
    await harness.order(userId + 10_000, [{ productId, quantity: 2 }], { couponId: theirs })
    const refused = await order(theirs)
    expect([refused.status, refused.body.code]).toEqual([404, 'COUPON_NOT_FOUND'])
  })

  it('[CPN-7] takes its id in capitals too, as any UUID', async () => {
    const { id } = await couponOf({})
    const answer = await harness.order(userId, [{ productId, quantity: 2 }], { couponId: id.toUpperCase() })
    expect([answer.status, answer.body.couponId]).toEqual([201, id])
    await expectConsistent(harness)
  })

  it('[ORD-5, CPN-5] that is not paid for leaves the coupon AVAILABLE', async () => {
    const { id: couponId } = await couponOf({})
    const dear = await harness.product({ price: 9_000_000 })
    expect((await harness.order(userId, dear, { couponId })).status).toBe(402)
    expect(await storedCoupon(couponId)).toEqual({ status: 'AVAILABLE', used_at: null, order_id: null })
    expect((await harness.order(userId, [{ productId, quantity: 2 }], { couponId })).status).toBe(201)
    await expectConsistent(harness)
  })

  it('[ORD-2] is refused for its stock before its coupon is looked at', async () => {
    const refused = await harness.order(userId, [{ productId, quantity: 11 }], { couponId: nobodys })
    expect(refused.body.code).toBe('STOCK_INSUFFICIENT')
  })
})

describe('a cancelled order with a coupon', () => {
  it('[ORD-6, CPN-5] gives the coupon back AVAILABLE, to be used again', async () => {
    const coupon = await couponOf({ validDays: 1 })
    const items = [{ productId, quantity: 2 }]
    const { body: order } = await harness.order(userId, items, { couponId: coupon.id })
    now = Date.parse(coupon.expiresAt) - 1
    expect((await harness.cancel(order.id)).body).toMatchObject({ status: 'CANCELED', couponId: coupon.id })
    expect(await storedCoupon(coupon.id)).toEqual({ status: 'AVAILABLE', used_at: null, order_id: null })
    expect(await listed()).toEqual([coupon])
    const again = await harness.order(userId, items, { couponId: coupon.id })
    expect(again.status).toBe(201)
    expect((await storedCoupon(coupon.id))?.order_id).toBe(again.body.id)
    // The first order stays cancelled, and has no say over the coupon any more.
    expect(tally([await harness.cancel(order.id)])).toEqual({ ORDER_NOT_CANCELABLE: 1 })
    expect((await storedCoupon(coupon.id))?.status).toBe('USED')
    await expectConsistent(harness)
  })

  it('[ORD-6, CPN-6] gives it back EXPIRED when its time has passed', async () => {
    const coupon = await couponOf({ validDays: 1 })
    const { body: order } = await harness.order(userId, [{ productId, quantity: 2 }], { couponId: coupon.id })
    now = Date.parse(coupon.expiresAt)
    expect((await harness.cancel(order.id)).status).toBe(200)
    expect(await storedCoupon(coupon.id)).toEqual({ status: 'EXPIRED', used_at: null, order_id: null })
    expect(await listed()).toEqual([{ ...coupon, status: 'EXPIRED' }])
    const items = [{ productId, quantity: 2 }]
    expect(tally([await harness.order(userId, items, { couponId: coupon.id })])).toEqual({
      COUPON_EXPIRED: 1,
    })
    await expectConsistent(harness)
  })

  it('[CPN-5] a USED coupon cannot be cancelled; once given back it can', async () => {
    const { id: couponId } = await couponOf({})
    const { body: order } = await harness.order(userId, [{ productId, quantity: 2 }], { couponId })
    const withdraw = () => harness.admin('POST', `/v1/admin/coupons/${couponId}/cancel`)
    expect(tally([await changingNothing(harness, withdraw)])).toEqual({ COUPON_NOT_AVAILABLE: 1 })
    await harness.cancel(order.id)
    expect((await withdraw()).body.status).toBe('CANCELED')
    await expectConsistent(harness)
  })
})
