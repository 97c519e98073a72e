import { createMiddleware } from 'hono/factory'

export interface HttpEnv {
  Variables: {
    requestId: string
    /** of the problem document sent, for the metrics */
    problemCode?: string
    /** the user of the token; not set where the gateway is trusted */
    actor?: number
    /** this request has been counted against the limit of its user */
    isCounted?: boolean
  }
}

const safeId = /^[\w.:=+/@~-]{1,128}$/

/** Takes over the caller's `X-Request-Id` when it is safe to log and echo, else makes one; sets it on the answer. */
export function requestId(newId: () => string) {
  return createMiddleware<HttpEnv>(async function requestId(c, next) {
    const given = c.req.header('x-request-id')
    const id = given !== undefined && safeId.test(given) ? given : newId()
    c.set('requestId', id)
    c.header('X-Request-Id', id)
    await next()
  })
}
