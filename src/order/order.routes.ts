import { createRoute, z } from '@hono/zod-openapi'
import { orderStatuses, paymentStatuses } from '../db/schema/index.ts'
import { refuse } from '../errors.ts'
import type { Access } from '../http/access.ts'
import { mayActFor } from '../http/auth.ts'
import { json } from '../http/frame.ts'
import type { Idempotency } from '../http/idempotency.ts'
import {
  type Api,
  id,
  idempotencyHeader,
  idInPath,
  jsonAnswer,
  jsonBody,
  problemResponses,
  time,
  uuidInPath,
} from '../http/openapi.ts'
import { pageOf, pageQuery, readCursor, timeInCursor, toPage } from '../http/paging.ts'
import { problem } from '../http/problem.ts'
import type { PlacedOrder } from './order.decide.ts'
import { type Order, textOf } from './order.ts'
import type { Orders } from './orders.ts'

const maxLines = 50
const maxQuantity = 1000

const orderSchema = z
  .object({
    id: z.uuid(),
    userId: id,
    status: z.enum(orderStatuses),
    items: z.array(
      z.object({
        productId: id,
        name: z.string(),
        quantity: z.int(),
        unitPrice: z.int(),
        amount: z.int(),
      }),
    ),
    totalAmount: z.int(),
    discountAmount: z.int(),
    finalAmount: z.int(),
    couponId: z.uuid().nullable(),
    payment: z.object({
      id: z.uuid(),
      type: z.enum(['BALANCE']),
      status: z.enum(paymentStatuses),
      amount: z.int(),
    }),
    createdAt: time,
  })
  .openapi('Order')

const newOrder = z.strictObject({
  userId: id,
  items: z
    .array(z.strictObject({ productId: id, quantity: z.int().positive().max(maxQuantity) }))
    .min(1)
    .max(maxLines)
    .refine((items) => new Set(items.map(({ productId }) => productId)).size === items.length, {
      error: 'each product may be in one line only',
    }),
  // As Postgres writes it, so that it is found among the locked coupons however it was spelled.
  couponId: z.uuid().toLowerCase().nullable().optional(),
})

const placeOrder = createRoute({
  method: 'post',
  path: '/v1/orders',
  summary: 'Order and pay from the balance',
  tags: ['orders'],
  security: [{ user: [] }],
  request: { headers: idempotencyHeader, body: jsonBody(newOrder) },
  responses: {
    201: jsonAnswer('Paid, and committed', orderSchema),
    ...problemResponses(
      'INSUFFICIENT_BALANCE',
      'PRODUCT_NOT_FOUND',
      'COUPON_NOT_FOUND',
      'STOCK_INSUFFICIENT',
      'COUPON_NOT_AVAILABLE',
      'COUPON_EXPIRED',
      'BALANCE_CONFLICT',
      'FINAL_AMOUNT_NOT_POSITIVE',
      'IDEMPOTENCY_KEY_REUSED',
      'IDEMPOTENCY_IN_PROGRESS',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

const getOrder = createRoute({
  method: 'get',
  path: '/v1/orders/{orderId}',
  summary: 'An order',
  tags: ['orders'],
  security: [{ user: [] }],
  request: { params: z.object({ orderId: uuidInPath('orderId') }) },
  responses: { 200: jsonAnswer('The order', orderSchema), ...problemResponses('ORDER_NOT_FOUND') },
})

const listOrders = createRoute({
  method: 'get',
  path: '/v1/users/{userId}/orders',
  summary: 'The orders of a user, newest first',
  tags: ['orders'],
  security: [{ user: [] }],
  request: { params: z.object({ userId: idInPath('userId') }), query: pageQuery },
  responses: { 200: jsonAnswer('A page of orders', pageOf(orderSchema)), ...problemResponses() },
})

const cancelOrder = createRoute({
  method: 'post',
  path: '/v1/orders/{orderId}/cancel',
  summary: 'Cancel a paid order and refund it',
  tags: ['orders'],
  security: [{ user: [] }],
  request: {
    params: z.object({ orderId: uuidInPath('orderId') }),
    headers: idempotencyHeader,
    body: { required: false, content: { 'application/json': { schema: z.strictObject({}) } } },
  },
  responses: {
    200: jsonAnswer('The canceled order', orderSchema),
    ...problemResponses(
      'ORDER_NOT_FOUND',
      'ORDER_NOT_CANCELABLE',
      'BALANCE_LIMIT_EXCEEDED',
      'BALANCE_CONFLICT',
      'IDEMPOTENCY_KEY_REUSED',
      'IDEMPOTENCY_IN_PROGRESS',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

const orderCursor = z.tuple([timeInCursor, z.uuid()])

/** Adds the routes of orders. */
export function addOrderRoutes(
  api: Api,
  orders: Orders,
  idempotency: Idempotency,
  { limitRate }: Pick<Access, 'limitRate'>,
): void {
  api.openapi(placeOrder, (c) => {
    const body = c.req.valid('json')
    const { userId, items, couponId = null } = body
    return idempotency.answer<PlacedOrder>(c, {
      userId,
      body,
      run: (call) => orders.place({ userId, lines: items, couponId }, call),
      render: ({ text }) => ({ status: 201, answer: text }),
    })
  })

  api.openapi(getOrder, async (c) => {
    const order = await orders.find(c.req.valid('param').orderId)
    // Another user's order is not there, so that ids tell nothing.
    if (!order || !mayActFor(c, order.userId)) return problem(c, refuse('ORDER_NOT_FOUND'))
    return json(c, order, 200)
  })

  api.openapi(listOrders, async (c) => {
    const { limit, cursor } = c.req.valid('query')
    const after = readCursor(c, cursor, orderCursor)
    if (after instanceof Response) return after
    const found = await orders.listForUser({
      userId: c.req.valid('param').userId,
      after: after && { createdAt: new Date(after[0]), id: after[1] },
      limit: limit + 1,
    })
    return json(
      c,
      toPage(found, limit, (order) => [order.createdAt.getTime(), order.id]),
      200,
    )
  })

  api.openapi(cancelOrder, async (c) => {
    const order = await orders.find(c.req.valid('param').orderId)
    if (!order || !mayActFor(c, order.userId)) return problem(c, refuse('ORDER_NOT_FOUND'))
    const limited = await limitRate(c, order.userId)
    if (limited) return limited as never
    return idempotency.answer<{ order: Order }>(c, {
      userId: order.userId,
      body: {},
      run: (call) => orders.cancel(order, call),
      render: (canceled) => ({ status: 200, answer: textOf(canceled.order) }),
    })
  })
}
