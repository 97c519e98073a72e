/**
 * The limit that the service is held against: a Hono handler on @hono/node-server that parses the JSON of a request and
 * answers it, or answers JSON such as the service does to a read. No middleware, no store.
 */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const product = { id: 1, name: 'Product 1', price: 1000, stock: 100_000_000 }
const popular = {
  from: '2026-01-01',
  to: '2026-01-03',
  items: Array.from({ length: 5 }, (_, index) => ({
    rank: index + 1,
    productId: index + 1,
    name: `Product ${index + 1}`,
    price: 1000,
    stock: 100_000_000,
    soldQuantity: 5 - index,
  })),
}

const app = new Hono()
app.get('/readyz', (c) => c.json({ status: 'ready' }))
app.get('/v1/products/popular', (c) => c.json(popular))
app.get('/v1/products/:id', (c) => c.json({ ...product, id: Number(c.req.param('id')) }))
app.post('*', async (c) => c.json(await c.req.json(), 201))

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(process.env.PORT) })
process.once('SIGTERM', () => {
  server.close()
  if ('closeAllConnections' in server) server.closeAllConnections()
})
