import { createRoute, z } from '@hono/zod-openapi'
import { json } from '../http/frame.ts'
import { type Api, id, jsonAnswer, jsonBody, problemResponses } from '../http/openapi.ts'
import { problem } from '../http/problem.ts'
import type { Warm } from './warm.ts'

const count = z.int().nonnegative()

const warmCache = createRoute({
  method: 'post',
  path: '/v1/admin/cache/warm',
  summary: 'Load active products and policies with their holders into Redis',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: {
    body: {
      ...jsonBody(
        z.strictObject({
          policyId: id.optional(),
          productId: id.optional(),
          missingOnly: z.boolean().optional().openapi({ description: 'only what Redis lacks' }),
        }),
      ),
      required: false,
    },
  },
  responses: {
    200: jsonAnswer(
      'What was loaded, or held against Postgres where it was there',
      z.object({ policies: count, holders: count, products: count, milliseconds: count }).openapi('Warmed'),
    ),
    ...problemResponses(
      'UNAUTHENTICATED',
      'FORBIDDEN',
      'COUPON_POLICY_NOT_FOUND',
      'PRODUCT_NOT_FOUND',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

/** Adds the route that warms Redis up. */
export function addWarmRoutes(api: Api, warm: Warm): void {
  api.openapi(warmCache, async (c) => {
    const outcome = await warm(c.req.valid('json') ?? {})
    return 'refused' in outcome ? problem(c, outcome) : json(c, outcome, 200)
  })
}
