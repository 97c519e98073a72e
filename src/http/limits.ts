import { bodyLimit as honoBodyLimit } from 'hono/body-limit'
import { createMiddleware } from 'hono/factory'
import { refuse } from '../errors.ts'
import { problem } from './problem.ts'
import type { HttpEnv } from './request-id.ts'

const maxBodyBytes = 64 * 1024

/** Refuses a body of more than 64 KiB, also one that does not announce its length. */
export const bodyLimit = honoBodyLimit({
  maxSize: maxBodyBytes,
  onError: (c) =>
    problem(c, refuse('BODY_TOO_LARGE', `At most ${maxBodyBytes} bytes are taken.`), { Connection: 'close' }),
})

const json = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i

/** Refuses a body that is not UTF-8 JSON by its Content-Type. A request without a body needs none. */
export const jsonOnly = createMiddleware<HttpEnv>(async function jsonOnly(c, next) {
  const type = c.req.header('content-type')
  if (type === undefined ? hasBody(c.req.header()) : !json.test(type)) {
    return problem(c, refuse('UNSUPPORTED_MEDIA_TYPE', 'Send application/json in UTF-8.'))
  }
  return next()
})

function hasBody(headers: Record<string, string>): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}
