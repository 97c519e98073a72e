import type { Context } from 'hono'
import { refuse } from '../errors.ts'
import type { Access } from './access.ts'
import type { HttpEnv } from './frame.ts'
import { problem } from './problem.ts'

/**
 * Makes the handler of what no route takes: 405 with `Allow` where the path exists under another method, else 404; under
 * `/v1/admin` only for the admin.
 * `routes` are Hono's, middleware (method ALL, or a path with `*`) among them.
 */
export function createNotFoundHandler(
  routes: () => { method: string; path: string }[],
  access: Pick<Access, 'enter'>,
) {
  let table: { method: string; pattern: RegExp }[] | undefined
  return async (c: Context<HttpEnv>): Promise<Response> => {
    const refusal = c.req.path.startsWith('/v1/admin/') && (await access.enter.admin?.(c))
    if (refusal) return refusal
    table ??= routes()
      .filter((route) => route.method !== 'ALL' && !route.path.includes('*'))
      .map((route) => ({
        method: route.method,
        pattern: new RegExp(
          `^${route.path.replaceAll(/:\w+(\{[^}]*\})?/g, '[^/]+').replaceAll('.', String.raw`\.`)}$`,
        ),
      }))
    const methods = new Set(
      table.filter((route) => route.pattern.test(c.req.path)).map((route) => route.method),
    )
    if (methods.size === 0) return problem(c, refuse('NOT_FOUND'))
    if (methods.has('GET')) methods.add('HEAD')
    return problem(c, refuse('METHOD_NOT_ALLOWED'), { Allow: [...methods].sort().join(', ') })
  }
}
