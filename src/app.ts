import { z } from '@hono/zod-openapi'
import { sql } from 'drizzle-orm'
import { addAuditRoutes } from './audit/audit.routes.ts'
import { addBalanceRoutes } from './balance/balance.routes.ts'
import { addCouponRoutes } from './coupon/coupon.routes.ts'
import { isDatabaseUnavailable } from './db/failure.ts'
import type { Deps } from './deps.ts'
import type { Domains } from './domains.ts'
import { Unavailable } from './errors.ts'
import { createAccess } from './http/access.ts'
import { addDocs } from './http/docs.ts'
import { frame, respond } from './http/frame.ts'
import { allowOrigins } from './http/headers.ts'
import { addHealthRoutes } from './http/health.ts'
import { createIdempotency } from './http/idempotency.ts'
import { createNotFoundHandler } from './http/methods.ts'
import { traced } from './http/observe.ts'
import { type Api, addProbe, createApi, problemResponses } from './http/openapi.ts'
import { createErrorHandler } from './http/problem.ts'
import { addOrderRoutes } from './order/order.routes.ts'
import { addPopularRoutes } from './popular/popular.routes.ts'
import { addProductRoutes } from './product/product.routes.ts'
import { askRedis } from './redis/client.ts'
import { isRedisUnavailable } from './redis/failure.ts'
import { addWarmRoutes } from './warm/warm.routes.ts'

const info = {
  title: 'seonchak',
  version: '1',
  description: 'First come, first served: flash coupons and limited stock, exact under any concurrency.',
}

const metrics = {
  path: '/metrics',
  summary: 'What Prometheus scrapes',
  responses: {
    200: { description: 'The metrics', content: { 'text/plain': { schema: z.string() } } },
    503: problemResponses()[503],
  },
}

/**
 * Builds the HTTP application from its dependencies; it does not listen. Without `domains` (a process that has not the
 * api role) only the probes and the metrics answer.
 */
export function buildApp(deps: Deps, isServing: () => boolean, domains: Domains | undefined): Api {
  const access = createAccess(deps)
  const api = createApi(access)
  frame(api, deps)
  if (deps.tracing.isOn) api.use(traced(deps.tracing))
  if (deps.env.CORS_ORIGINS) api.use(allowOrigins(deps.env.CORS_ORIGINS))
  api.onError(createErrorHandler(deps.log, isUnavailable))
  api.notFound(createNotFoundHandler(() => api.routes, access))

  addHealthRoutes(api, {
    isServing,
    async askStores() {
      await Promise.all([askRedis(deps.redis), deps.db.execute(sql`select 1`)])
    },
  })
  addProbe(api, metrics, async (c) => respond(c, 200, deps.metrics.contentType, await deps.metrics.scrape()))
  if (!domains) return api

  const idempotency = createIdempotency(deps)
  addBalanceRoutes(api, domains.balances, idempotency)
  addPopularRoutes(api, domains.rankings)
  addProductRoutes(api, domains.products, idempotency)
  addCouponRoutes(api, domains.coupons, idempotency)
  addOrderRoutes(api, domains.orders, idempotency, access)
  addAuditRoutes(api, domains.audit)
  addWarmRoutes(api, domains.warm)
  addDocs(api, info)
  return api
}

function isUnavailable(error: unknown): boolean {
  // Drizzle wraps what the driver threw.
  const reason = error instanceof Error && error.cause !== undefined ? error.cause : error
  return (
    error instanceof Unavailable ||
    [error, reason].some((each) => isDatabaseUnavailable(each) || isRedisUnavailable(each))
  )
}
