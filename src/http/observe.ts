import { context, propagation } from '@opentelemetry/api'
import { createMiddleware } from 'hono/factory'
import type { Tracing } from '../telemetry/tracing.ts'
import type { HttpEnv } from './frame.ts'

/** Puts a span around every request, child of the one that the caller names in `traceparent`. */
export function traced(tracing: Tracing) {
  return createMiddleware<HttpEnv>(function traced(c, next) {
    const parent = propagation.extract(context.active(), c.req.header())
    return tracing.request(parent, async (span) => {
      await next()
      const { route } = c.env
      span.updateName(`${c.req.method} ${route}`)
      span.setAttributes({
        'http.request.method': c.req.method,
        'http.route': route,
        'http.response.status_code': c.res.status,
      })
    })
  })
}
