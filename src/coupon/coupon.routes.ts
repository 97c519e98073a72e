import { createRoute, z } from '@hono/zod-openapi'
import { operatorId } from '../db/idempotency.ts'
import { couponStatuses } from '../db/schema/index.ts'
import { json } from '../http/frame.ts'
import type { Idempotency } from '../http/idempotency.ts'
import {
  type Api,
  id,
  idempotencyHeader,
  idInPath,
  jsonAnswer,
  jsonBody,
  name,
  positive,
  problemResponses,
  time,
  timeInBody,
  uuidInPath,
} from '../http/openapi.ts'
import { pageOf, pageQuery, readCursor, timeInCursor, toPage } from '../http/paging.ts'
import { problem } from '../http/problem.ts'
import type { CreatedPolicy } from './coupon.create.ts'
import type { Coupon } from './coupon.ts'
import type { Coupons } from './coupons.ts'

const maxQuantity = 100_000_000
const maxValidDays = 3650
const policySchema = z
  .object({
    id,
    name: z.string(),
    discountType: z.enum(['AMOUNT', 'PERCENT']),
    discountValue: z.int().openapi({ description: 'won, or percent' }),
    totalQuantity: z.int(),
    remainingQuantity: z.int().openapi({ description: 'what can still be issued at this moment' }),
    issueStartsAt: time,
    issueEndsAt: time,
    validDays: z.int(),
  })
  .openapi('CouponPolicy')

const couponSchema = z
  .object({
    id: z.uuid(),
    policyId: id,
    userId: id,
    rank: z.int().openapi({ description: 'place in the issue order, from 1, without gaps' }),
    status: z.enum(couponStatuses),
    discountType: z.enum(['AMOUNT', 'PERCENT']),
    discountValue: z.int(),
    issuedAt: time,
    expiresAt: time,
    usedAt: time.nullable(),
    orderId: z.uuid().nullable(),
  })
  .openapi('Coupon')

const newPolicy = z
  .strictObject({
    name,
    discountType: z.enum(['AMOUNT', 'PERCENT']),
    discountValue: positive,
    totalQuantity: z.int().positive().max(maxQuantity),
    issueStartsAt: timeInBody,
    issueEndsAt: timeInBody,
    validDays: z.int().positive().max(maxValidDays),
  })
  .refine((policy) => policy.discountType === 'AMOUNT' || policy.discountValue <= 100, {
    path: ['discountValue'],
    message: 'a percentage must be from 1 to 100',
  })
  .refine((policy) => policy.issueEndsAt > policy.issueStartsAt, {
    path: ['issueEndsAt'],
    message: 'must be after issueStartsAt',
  })

const getPolicy = createRoute({
  method: 'get',
  path: '/v1/coupon-policies/{policyId}',
  summary: 'A coupon policy and what remains of it',
  tags: ['coupons'],
  security: [],
  request: { params: z.object({ policyId: idInPath('policyId') }) },
  responses: { 200: jsonAnswer('The policy', policySchema), ...problemResponses('COUPON_POLICY_NOT_FOUND') },
})

const issueCoupon = createRoute({
  method: 'post',
  path: '/v1/coupon-policies/{policyId}/issue',
  summary: 'Issue a coupon, first come, first served',
  tags: ['coupons'],
  security: [{ user: [] }],
  request: {
    params: z.object({ policyId: idInPath('policyId') }),
    body: jsonBody(z.strictObject({ userId: id })),
  },
  responses: {
    201: jsonAnswer('Issued, and committed', couponSchema),
    ...problemResponses(
      'COUPON_POLICY_NOT_FOUND',
      'COUPON_ALREADY_ISSUED',
      'COUPON_NOT_STARTED',
      'COUPON_ENDED',
      'COUPON_SOLD_OUT',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

const listCoupons = createRoute({
  method: 'get',
  path: '/v1/users/{userId}/coupons',
  summary: 'The coupons of a user, newest first',
  tags: ['coupons'],
  security: [{ user: [] }],
  request: {
    params: z.object({ userId: idInPath('userId') }),
    query: pageQuery.extend({ status: z.enum(couponStatuses).optional() }),
  },
  responses: { 200: jsonAnswer('A page of coupons', pageOf(couponSchema)), ...problemResponses() },
})

const createPolicy = createRoute({
  method: 'post',
  path: '/v1/admin/coupon-policies',
  summary: 'Create a coupon policy',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: { headers: idempotencyHeader, body: jsonBody(newPolicy) },
  responses: {
    201: jsonAnswer('The policy', policySchema),
    ...problemResponses(
      'UNAUTHENTICATED',
      'FORBIDDEN',
      'IDEMPOTENCY_KEY_REUSED',
      'IDEMPOTENCY_IN_PROGRESS',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

const cancelCoupon = createRoute({
  method: 'post',
  path: '/v1/admin/coupons/{couponId}/cancel',
  summary: 'Cancel an AVAILABLE coupon',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: { params: z.object({ couponId: uuidInPath('couponId') }) },
  responses: {
    200: jsonAnswer('The coupon', couponSchema),
    ...problemResponses(
      'UNAUTHENTICATED',
      'FORBIDDEN',
      'COUPON_NOT_FOUND',
      'COUPON_NOT_AVAILABLE',
      'COUPON_EXPIRED',
    ),
  },
})

const couponCursor = z.tuple([timeInCursor, z.uuid()])

/** Times of a new coupon as texts: JSON of an object with a Date in it takes V8 three times as long. */
function withTexts(coupon: Coupon) {
  return { ...coupon, issuedAt: coupon.issuedAt.toISOString(), expiresAt: coupon.expiresAt.toISOString() }
}

/** Adds the routes of coupons and coupon policies. */
export function addCouponRoutes(api: Api, coupons: Coupons, idempotency: Idempotency): void {
  api.openapi(getPolicy, async (c) => {
    const policy = await coupons.findPolicy(c.req.valid('param').policyId)
    return 'refused' in policy ? problem(c, policy) : json(c, policy, 200)
  })

  api.openapi(issueCoupon, async (c) => {
    const outcome = await coupons.issue(c.req.valid('param').policyId, c.req.valid('json').userId)
    return 'refused' in outcome ? problem(c, outcome) : json(c, withTexts(outcome.coupon), 201)
  })

  api.openapi(listCoupons, async (c) => {
    const { limit, cursor, status } = c.req.valid('query')
    const after = readCursor(c, cursor, couponCursor)
    if (after instanceof Response) return after
    const found = await coupons.listForUser({
      userId: c.req.valid('param').userId,
      status,
      after: after && { issuedAt: new Date(after[0]), id: after[1] },
      limit: limit + 1,
    })
    return json(
      c,
      toPage(found, limit, (coupon) => [coupon.issuedAt.getTime(), coupon.id]),
      200,
    )
  })

  api.openapi(createPolicy, (c) => {
    const body = c.req.valid('json')
    return idempotency.answer<CreatedPolicy>(c, {
      userId: operatorId,
      body,
      run: (call) => coupons.createPolicy(body, call, c.env.requestId),
      render: (created) => ({ status: 201, answer: JSON.stringify(created) }),
    })
  })

  api.openapi(cancelCoupon, async (c) => {
    const outcome = await coupons.cancel(c.req.valid('param').couponId)
    return 'refused' in outcome ? problem(c, outcome) : json(c, outcome, 200)
  })
}
