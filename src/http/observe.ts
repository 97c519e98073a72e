import { context, propagation } from '@opentelemetry/api'
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { matchedRoutes } from 'hono/route'
import type { Tracing } from '../telemetry/tracing.ts'
import type { HttpEnv } from './frame.ts'

/** Puts a span around every request, child of the one that the caller names in `traceparent`. */
export function traced(tracing: Tracing) {
  return createMiddleware<HttpEnv>(function traced(c, next) {
    const parent = propagation.extract(context.active(), c.req.header())
    return tracing.request(parent, async (span) => {
      await next()
      const route = routeOf(c)
      span.updateName(`${c.req.method} ${route}`)
      span.setAttributes({
        'http.request.method': c.req.method,
        'http.route': route,
        'http.response.status_code': c.res.status,
      })
    })
  })
}

/** The template of the route that answered. What no route took is one value: clients can make up any path. */
export function routeOf(c: Context<HttpEnv>): string {
  const path = matchedRoutes(c).at(-1)?.path
  return path === undefined || path.includes('*') ? 'unmatched' : path
}
