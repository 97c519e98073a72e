import type { Context, TypedResponse } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { JSONParsed } from 'hono/utils/types'
import type { Metrics } from '../telemetry/metrics.ts'
import { safeHeaders } from './headers.ts'
import { routeOf } from './observe.ts'

/** What a request carries on its way. */
export interface HttpEnv {
  Variables: {
    requestId: string
    /** of the problem document sent, for the metrics */
    problemCode?: string
    /** the user of the token; not set where the gateway is trusted */
    actor?: number
    /** this request has been counted against the limit of its user */
    isCounted?: boolean
    /** headers that the answer gets besides its own */
    headers?: Record<string, string>
    /** the answer was made by `respond`, with all headers that every answer has */
    isFramed?: boolean
  }
}

const safeId = /^[\w.:=+/@~-]{1,128}$/

/**
 * What every request goes through: it gets an id (the caller's `X-Request-Id` when it is safe to log and echo, else a
 * new one), it is counted and timed, and its answer has the headers that every answer has. To come first.
 *
 * One middleware, and answers whose headers are a plain object: with a middleware for each of these and headers set one
 * by one, the frame cost more than what was done with the request (docs/design.md).
 */
export function frame({ newId, metrics }: { newId(): string; metrics: Metrics }) {
  return createMiddleware<HttpEnv>(async function frame(c, next) {
    const startedAt = performance.now()
    const given = c.req.header('x-request-id')
    c.set('requestId', given !== undefined && safeId.test(given) ? given : newId())
    await next()
    if (!c.get('isFramed')) addHeaders(c)
    const { status } = c.res
    // What a deadline cut off may have made a problem of something else.
    const code = status < 400 ? '' : (c.get('problemCode') ?? '')
    metrics.request(c.req.method, routeOf(c), status, code, performance.now() - startedAt)
  })
}

/** Gives an answer that was made elsewhere (a page, a preflight) the headers that it does not set itself. */
function addHeaders(c: Context<HttpEnv>): void {
  const { headers } = c.res
  headers.set('X-Request-Id', c.get('requestId'))
  for (const [name, value] of Object.entries(safeHeaders)) if (!headers.has(name)) headers.set(name, value)
}

/** Makes an answer, with the headers that every answer has. */
export function respond(
  c: Context<HttpEnv>,
  status: number,
  type: string,
  body: string,
  headers?: Record<string, string>,
): Response {
  c.set('isFramed', true)
  return new Response(body, {
    status,
    headers: {
      'Content-Type': type,
      'X-Request-Id': c.get('requestId'),
      ...safeHeaders,
      ...c.get('headers'),
      ...headers,
    },
  })
}

/** Answers JSON. */
export function json<Data, Status extends ContentfulStatusCode>(
  c: Context<HttpEnv>,
  data: Data,
  status: Status,
): Response & TypedResponse<JSONParsed<Data>, Status, 'json'> {
  return respond(c, status, 'application/json', JSON.stringify(data)) as never
}
