import { createRoute, z } from '@hono/zod-openapi'
import { json } from '../http/frame.ts'
import { type Api, id, jsonAnswer, jsonBody, problemResponses } from '../http/openapi.ts'
import { problem } from '../http/problem.ts'
import type { Rankings } from './rankings.ts'

const date = z.iso.date().openapi({ description: 'a date in Asia/Seoul' })

const rankedProduct = {
  rank: z.int(),
  productId: id,
  name: z.string(),
  price: z.int().openapi({ description: 'won' }),
}

const liveSchema = z
  .object({
    from: date,
    to: date,
    items: z.array(z.object({ ...rankedProduct, stock: z.int(), soldQuantity: z.int() })),
  })
  .openapi('PopularProducts')

const snapshotSchema = z
  .object({
    date,
    from: date,
    to: date,
    items: z.array(z.object({ ...rankedProduct, soldQuantity: z.int() })),
  })
  .openapi('PopularSnapshot')

const getPopular = createRoute({
  method: 'get',
  path: '/v1/products/popular',
  summary: 'The five products sold most, today and the two days before',
  tags: ['popular'],
  security: [],
  responses: { 200: jsonAnswer('The ranking, at most a second old', liveSchema), ...problemResponses() },
})

const getSnapshot = createRoute({
  method: 'get',
  path: '/v1/products/popular/snapshots/{date}',
  summary: 'The ranking as it was at 00:00 of a date',
  tags: ['popular'],
  security: [],
  request: {
    params: z.object({
      date: z
        .union([z.literal('latest'), date])
        .openapi({ param: { name: 'date', in: 'path' }, type: 'string' }),
    }),
  },
  responses: { 200: jsonAnswer('The snapshot', snapshotSchema), ...problemResponses('SNAPSHOT_NOT_FOUND') },
})

const takeSnapshot = createRoute({
  method: 'post',
  path: '/v1/admin/popular/snapshots',
  summary: 'Run the midnight job for a date',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: { body: jsonBody(z.strictObject({ date })) },
  responses: {
    200: jsonAnswer('The snapshot', snapshotSchema),
    ...problemResponses('UNAUTHENTICATED', 'FORBIDDEN', 'BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'),
  },
})

/** Adds the routes of popular products. Add them before those of products: `popular` is no product id. */
export function addPopularRoutes(api: Api, rankings: Rankings): void {
  api.openapi(getPopular, async (c) => json(c, await rankings.live(), 200))

  api.openapi(getSnapshot, async (c) => {
    const snapshot = await rankings.findSnapshot(c.req.valid('param').date)
    return 'refused' in snapshot ? problem(c, snapshot) : json(c, snapshot, 200)
  })

  api.openapi(takeSnapshot, async (c) => {
    const snapshot = await rankings.takeSnapshot(c.req.valid('json').date)
    return 'refused' in snapshot ? problem(c, snapshot) : json(c, snapshot, 200)
  })
}
