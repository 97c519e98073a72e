import type { Context } from 'hono'
import { refuse } from '../errors.ts'
import { problem } from './problem.ts'
import type { HttpEnv } from './request-id.ts'

/**
 * Makes the handler of what no route takes: 405 with `Allow` where the path exists under another method, else 404.
 * `routes` are Hono's, middleware (method ALL, or a path with `*`) among them.
 */
export function createNotFoundHandler(routes: () => { method: string; path: string }[]) {
  let table: { method: string; pattern: RegExp }[] | undefined
  return (c: Context<HttpEnv>): Response => {
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
