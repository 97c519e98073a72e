import { createRoute, z } from '@hono/zod-openapi'
import { json } from '../http/frame.ts'
import type { Idempotency } from '../http/idempotency.ts'
import {
  type Api,
  id,
  idempotencyHeader,
  idInPath,
  jsonAnswer,
  jsonBody,
  positive,
  problemResponses,
  time,
} from '../http/openapi.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/paging.ts'
import type { Balances } from './balances.ts'
import type { Charged } from './charge.ts'

const params = z.object({ userId: idInPath('userId') })
const balanceSchema = z
  .object({ userId: id, balance: z.int().openapi({ description: 'won' }) })
  .openapi('Balance')

const entrySchema = z
  .object({
    id,
    type: z.enum(['CHARGE', 'USE', 'REFUND']),
    amount: z.int().openapi({ description: 'won, always positive' }),
    balanceAfter: z.int(),
    orderId: z.uuid().nullable(),
    createdAt: time,
  })
  .openapi('BalanceEntry')

const charge = createRoute({
  method: 'post',
  path: '/v1/users/{userId}/balance/charge',
  summary: 'Charge the balance of a user',
  tags: ['balance'],
  security: [{ user: [] }],
  request: {
    params,
    headers: idempotencyHeader,
    body: jsonBody(z.strictObject({ amount: positive })),
  },
  responses: {
    200: jsonAnswer('The balance after the charge', balanceSchema),
    ...problemResponses(
      'CHARGE_BELOW_MINIMUM',
      'BALANCE_LIMIT_EXCEEDED',
      'BALANCE_CONFLICT',
      'IDEMPOTENCY_KEY_REUSED',
      'IDEMPOTENCY_IN_PROGRESS',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

const getBalance = createRoute({
  method: 'get',
  path: '/v1/users/{userId}/balance',
  summary: 'The balance of a user; 0 before the first charge',
  tags: ['balance'],
  security: [{ user: [] }],
  request: { params },
  responses: { 200: jsonAnswer('The balance', balanceSchema), ...problemResponses() },
})

const getHistory = createRoute({
  method: 'get',
  path: '/v1/users/{userId}/balance/history',
  summary: 'The history of a balance, newest first',
  tags: ['balance'],
  security: [{ user: [] }],
  request: { params, query: pageQuery },
  responses: { 200: jsonAnswer('A page of entries', pageOf(entrySchema)), ...problemResponses() },
})

const historyCursor = z.tuple([z.int().positive()])

/** Adds the routes of balances. */
export function addBalanceRoutes(api: Api, balances: Balances, idempotency: Idempotency): void {
  api.openapi(charge, (c) => {
    const { userId } = c.req.valid('param')
    const body = c.req.valid('json')
    return idempotency.answer<Charged>(c, {
      userId,
      body,
      run: (call) => balances.charge(userId, body.amount, call),
      render: (charged) => ({ status: 200, answer: JSON.stringify(charged) }),
    })
  })

  api.openapi(getBalance, async (c) => {
    const { userId } = c.req.valid('param')
    return json(c, { userId, balance: await balances.find(userId) }, 200)
  })

  api.openapi(getHistory, async (c) => {
    const { limit, cursor } = c.req.valid('query')
    const after = readCursor(c, cursor, historyCursor)
    if (after instanceof Response) return after
    const entries = await balances.history(c.req.valid('param').userId, after?.[0], limit + 1)
    return json(
      c,
      toPage(entries, limit, (entry) => [entry.id]),
      200,
    )
  })
}
