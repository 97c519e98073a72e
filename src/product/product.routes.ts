import { createRoute, z } from '@hono/zod-openapi'
import { operatorId } from '../db/idempotency.ts'
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
  problemResponses,
} from '../http/openapi.ts'
import { pageOf, pageQuery, readCursor, toPage } from '../http/paging.ts'
import { problem } from '../http/problem.ts'
import type { StockedProduct } from './product.ts'
import type { Products } from './products.ts'
import { maxStock } from './restock.ts'

const maxPrice = 100_000_000

const productSchema = z
  .object({
    id,
    name: z.string(),
    price: z.int().openapi({ description: 'won' }),
    stock: z.int().openapi({ description: 'what a buyer could still reserve at this moment' }),
  })
  .openapi('Product')

const params = z.object({ productId: idInPath('productId') })

const listProducts = createRoute({
  method: 'get',
  path: '/v1/products',
  summary: 'Products by id, each with its exact stock',
  tags: ['products'],
  security: [],
  request: { query: pageQuery },
  responses: { 200: jsonAnswer('A page of products', pageOf(productSchema)), ...problemResponses() },
})

const getProduct = createRoute({
  method: 'get',
  path: '/v1/products/{productId}',
  summary: 'A product with its exact stock',
  tags: ['products'],
  security: [],
  request: { params },
  responses: { 200: jsonAnswer('The product', productSchema), ...problemResponses('PRODUCT_NOT_FOUND') },
})

const createProduct = createRoute({
  method: 'post',
  path: '/v1/admin/products',
  summary: 'Create a product',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: {
    headers: idempotencyHeader,
    body: jsonBody(
      z.strictObject({
        name,
        price: z.int().positive().max(maxPrice),
        stock: z.int().nonnegative().max(maxStock),
      }),
    ),
  },
  responses: {
    201: jsonAnswer('The product', productSchema),
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

const restock = createRoute({
  method: 'post',
  path: '/v1/admin/products/{productId}/restock',
  summary: 'Add units to a product',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: {
    params,
    headers: idempotencyHeader,
    body: jsonBody(z.strictObject({ quantity: z.int().positive().max(maxStock) })),
  },
  responses: {
    200: jsonAnswer('The product with its new stock', productSchema),
    ...problemResponses(
      'UNAUTHENTICATED',
      'FORBIDDEN',
      'PRODUCT_NOT_FOUND',
      'IDEMPOTENCY_KEY_REUSED',
      'IDEMPOTENCY_IN_PROGRESS',
      'BODY_TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
    ),
  },
})

const productCursor = z.tuple([z.int().positive()])

/** Adds the routes of products. */
export function addProductRoutes(api: Api, products: Products, idempotency: Idempotency): void {
  api.openapi(listProducts, async (c) => {
    const { limit, cursor } = c.req.valid('query')
    const after = readCursor(c, cursor, productCursor)
    if (after instanceof Response) return after
    const found = await products.list(after?.[0] ?? 0, limit + 1)
    return json(
      c,
      toPage(found, limit, (product) => [product.id]),
      200,
    )
  })

  api.openapi(getProduct, async (c) => {
    const product = await products.get(c.req.valid('param').productId)
    return 'refused' in product ? problem(c, product) : json(c, product, 200)
  })

  api.openapi(createProduct, (c) => {
    const body = c.req.valid('json')
    return idempotency.answer<StockedProduct>(c, {
      userId: operatorId,
      body,
      run: (call) => products.create(body, call, c.env.requestId),
      render: (product) => ({ status: 201, answer: JSON.stringify(product) }),
    })
  })

  api.openapi(restock, (c) => {
    const { productId } = c.req.valid('param')
    const body = c.req.valid('json')
    return idempotency.answer<StockedProduct>(c, {
      userId: operatorId,
      body,
      run: (call) => products.restock(productId, body.quantity, call, c.env.requestId),
      render: (product) => ({ status: 200, answer: JSON.stringify(product) }),
    })
  })
}
