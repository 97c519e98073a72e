import { createHash, timingSafeEqual } from 'node:crypto'
import { createMiddleware } from 'hono/factory'
import { refuse } from '../errors.ts'
import { problem } from './problem.ts'
import type { HttpEnv } from './request-id.ts'

/** Lets only holders of the admin token pass; without a token configured, nobody (api.md, Authorization). */
export function adminOnly(adminToken: string | undefined) {
  const expected = adminToken === undefined ? undefined : digest(adminToken)
  return createMiddleware<HttpEnv>(async function adminOnly(c, next) {
    if (expected === undefined) return problem(c, refuse('FORBIDDEN', 'No admin token is configured.'))
    const [, given] = /^Bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '') ?? []
    // Digests have one length, so the comparison takes the same time whatever was sent.
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      return problem(c, refuse('UNAUTHENTICATED'), { 'WWW-Authenticate': 'Bearer' })
    }
    return next()
  })
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
