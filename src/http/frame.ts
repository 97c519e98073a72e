import type { Context, Handler, TypedResponse } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { JSONParsed } from 'hono/utils/types'
import type { Metrics } from '../telemetry/metrics.ts'
import { safeHeaders, withSafeHeaders } from './headers.ts'
import type { WholeMessage } from './message.ts'
import type { Api } from './openapi.ts'
import { requestIdOf } from './request-id.ts'

/** What a request carries on its way. */
export interface HttpEnv {
  Bindings: RequestState
}

interface RequestState {
  /** absent where a request is made in memory */
  incoming: WholeMessage | undefined
  requestId: string
  /** the template of the route that took it; what no route took is one value, as clients can make up any path */
  route: string
  /** the answer was made by `respond`, with all headers that every answer has */
  isFramed: boolean
  /** of the problem document sent, for the metrics */
  problemCode: string
  /** headers that the answer gets besides its own */
  headers: Record<string, string> | undefined
  /** the user of the token; not set where the gateway is trusted */
  actor: number | undefined
  /** it has been counted against the limit of its user */
  isCounted: boolean
}

/**
 * Puts the frame around an application that every request goes through: it gets an id (the caller's `X-Request-Id` when
 * it is safe to log and echo, else a new one), it is counted and timed, and its answer has the headers that every answer
 * has.
 *
 * It is no middleware: with one, Hono composes each request's handlers anew, and with a middleware for each of these the
 * frame cost more than what was done with the request (docs/design.md).
 */
export function frame(
  api: Pick<Api, 'fetch'>,
  { newRequestId, metrics }: { newRequestId(): string; metrics: Metrics },
): void {
  const answer = api.fetch
  const finish = (request: Request, state: RequestState, startedAt: number, response: Response): Response => {
    if (!state.isFramed) addHeaders(response, state)
    const { status } = response
    // What a deadline cut off may have made a problem of something else.
    const code = status < 400 ? '' : state.problemCode
    metrics.request(request.method, state.route, status, code, performance.now() - startedAt)
    return response
  }
  api.fetch = (request, bindings, context) => {
    const startedAt = performance.now()
    const { incoming } = (bindings ?? {}) as { incoming?: WholeMessage }
    const given = incoming ? incoming.headers['x-request-id'] : request.headers.get('x-request-id')
    const state: RequestState = {
      incoming,
      requestId: requestIdOf(given, newRequestId),
      route: 'unmatched',
      isFramed: false,
      problemCode: '',
      headers: undefined,
      actor: undefined,
      isCounted: false,
    }
    const response = answer(request, state, context)
    return response instanceof Promise
      ? response.then((made) => finish(request, state, startedAt, made))
      : finish(request, state, startedAt, response)
  }
}

/** A header of a request that is not made of a list. Asked of the server's own message, where there is one, it is cheap. */
export function headerOf({ env, req }: Context<HttpEnv>, name: string): string | undefined {
  return env.incoming ? (env.incoming.headers[name] as string | undefined) : req.header(name)
}

/** A path and its handler, which the metrics name by that path. */
export function named(path: string, handler: Handler<HttpEnv>): [string, Handler<HttpEnv>] {
  return [
    path,
    (c, next) => {
      c.env.route = path
      return handler(c, next)
    },
  ]
}

/** Gives an answer that was made elsewhere (a page, a preflight) the headers that it does not set itself. */
function addHeaders({ headers }: Response, { requestId }: RequestState): void {
  headers.set('X-Request-Id', requestId)
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
  const { env } = c
  env.isFramed = true
  const all = withSafeHeaders(type, env.requestId)
  if (env.headers) Object.assign(all, env.headers)
  if (headers) Object.assign(all, headers)
  return new Response(body, { status, headers: all })
}

/** Answers JSON. */
export function json<Data, Status extends ContentfulStatusCode>(
  c: Context<HttpEnv>,
  data: Data,
  status: Status,
): Response & TypedResponse<JSONParsed<Data>, Status, 'json'> {
  return respond(c, status, 'application/json', JSON.stringify(data)) as never
}
