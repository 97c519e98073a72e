import type { Context } from 'hono'
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

/**
 * Refuses a body that is not UTF-8 JSON by its Content-Type. A request without a body needs no type, and one that it
 * brings all the same (many clients always send it) does not make the nothing behind it malformed JSON.
 */
export const jsonOnly = createMiddleware<HttpEnv>(async function jsonOnly(c, next) {
  const type = c.req.header('content-type')
  if (type === undefined ? hasBody(c) : !json.test(type)) {
    return problem(c, refuse('UNSUPPORTED_MEDIA_TYPE', 'Send application/json in UTF-8.'))
  }
  if (type !== undefined && !hasBody(c)) {
    const headers = new Headers(c.req.header())
    headers.delete('content-type')
    c.req.raw = new Request(c.req.url, { method: c.req.method, headers })
  }
  return next()
})

/** By the headers, which say it for every message of HTTP/1.1; a call in memory has the body itself to look at. */
function hasBody(c: Context<HttpEnv>): boolean {
  const length = c.req.header('content-length')
  if (length !== undefined) return Number(length) > 0
  const isInMemory = (c.env as { incoming?: unknown } | undefined)?.incoming === undefined
  return c.req.header('transfer-encoding') !== undefined || (isInMemory && c.req.raw.body !== null)
}
