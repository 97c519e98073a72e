import { Hono } from 'hono'
import { frame, type HttpEnv } from './frame.ts'
import type { Api } from './openapi.ts'
import { unavailable } from './problem.ts'

/** What needs no store, or says itself how they are. */
const isOpen = /^\/(?:livez|readyz|metrics|openapi\.json|docs(?:\/[^/]*)?)$/

/** The way into an application that is still starting. */
export interface Entrance {
  fetch: Api['fetch']
  /** Lets every request in, from here on for good. */
  open(): void
}

/**
 * Makes the way into `api`, closed at first: until it is opened, what would ask the stores is answered 503. The
 * database may still be that of another version, and Redis may have come back with old data that nobody has noticed yet.
 * Once it is open, a request costs one call more.
 */
export function createEntrance(api: Api, deps: Parameters<typeof frame>[1]): Entrance {
  const closed = new Hono<HttpEnv>()
  frame(closed, deps)
  closed.notFound((c) => unavailable(c, 'The service is starting.'))
  let fetch: Api['fetch'] = (request, ...rest) =>
    (isOpen.test(new URL(request.url).pathname) ? api : closed).fetch(request, ...rest)
  return {
    fetch: (request, bindings, context) => fetch(request, bindings, context),
    open() {
      fetch = api.fetch
    },
  }
}
