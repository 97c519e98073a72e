import type { RouteConfig } from '@hono/zod-openapi'
import type { Context, Next } from 'hono'
import type { z } from 'zod'
import type { Access, Audience } from './access.ts'
import { type Read, readJson, refuseBody } from './body.ts'
import type { HttpEnv } from './frame.ts'
import { invalid, unavailable } from './problem.ts'

export type Handler = (c: Context<HttpEnv>, next: Next) => Response | Promise<Response>

type Part = 'param' | 'query' | 'json'
type Fault = { path: string; message: string }

/**
 * Makes the one handler of a route: it lets in whom the route is for, judges the body by its headers, validates the
 * input with the schemas that document it, and runs `handler`, all within the deadline. `path` is its template. Hono's own way, a middleware for
 * each of these, made a real Request and Headers on the way (docs/design.md).
 */
export function createEndpoint(
  path: string,
  { method, request = {} }: RouteConfig,
  audience: Audience,
  access: Access,
  handler: Handler,
): Handler {
  const { params, query, body } = request as { params?: z.ZodType; query?: z.ZodType; body?: JsonBody }
  const json = body?.content['application/json'].schema
  const isWrite = method !== 'get'
  const enter = access.enter[audience]
  const within = access.within[audience]
  const admit = audience === 'user' ? access.admit : undefined

  // Not async, and waiting only for what takes time: most requests have nothing to wait for before their handler.
  function answer(c: Context<HttpEnv>, next: Next): Response | Promise<Response> {
    const entered = enter?.(c)
    if (entered instanceof Promise) return entered.then((refused) => refused ?? validate(c, next))
    return entered ?? validate(c, next)
  }

  function validate(c: Context<HttpEnv>, next: Next): Response | Promise<Response> {
    const refusal = isWrite ? refuseBody(c) : undefined
    if (refusal) return refusal
    const faults: Fault[] = []
    if (query) take(c, 'query', query, singles(c.req.queries()), faults)
    if (params) take(c, 'param', params, c.req.param(), faults)
    if (!json) return handle(c, next, faults)
    const read = readJson(c)
    if (read instanceof Promise) return read.then((late) => withBody(c, next, json, late, faults))
    return withBody(c, next, json, read, faults)
  }

  function withBody(
    c: Context<HttpEnv>,
    next: Next,
    schema: z.ZodType,
    read: Read,
    faults: Fault[],
  ): Response | Promise<Response> {
    if (read instanceof Response) return read
    take(c, 'json', schema, read.value, faults)
    return handle(c, next, faults)
  }

  function handle(c: Context<HttpEnv>, next: Next, faults: Fault[]): Response | Promise<Response> {
    if (faults.length > 0) return invalid(c, faults)
    if (!admit) return handler(c, next)
    return admit(c, userIdsOf(c), isWrite).then((refusal) => refusal ?? handler(c, next))
  }

  return function endpoint(c, next) {
    c.env.route = path
    const made = answer(c, next)
    return within && made instanceof Promise ? within(made, () => unavailable(c, 'It took too long.')) : made
  }
}

interface JsonBody {
  content: { 'application/json': { schema: z.ZodType } }
}

/** Validates a part of the input and keeps it for the handler; what is wrong with it goes to `faults`. */
function take(c: Context<HttpEnv>, part: Part, schema: z.ZodType, value: unknown, faults: Fault[]): void {
  const { success, data, error } = schema.safeParse(value)
  if (success) c.req.addValidatedData(part, data as object)
  else for (const { path, message } of error.issues) faults.push({ path: path.join('.'), message })
}

/** A parameter that is given more than once stays a list, which no schema takes. */
function singles(queries: Record<string, string[]>): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(queries).map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]),
  )
}

/** Every `userId` of the valid input. */
function userIdsOf(c: Context<HttpEnv>): number[] {
  const inputs = (['param', 'query', 'json'] as const).map(
    (part) => c.req.valid(part as never) as { userId?: number } | undefined,
  )
  return inputs.flatMap((input) => (input?.userId === undefined ? [] : [input.userId]))
}
