import { createHash, timingSafeEqual } from 'node:crypto'
import type { Context } from 'hono'
import { refuse } from '../errors.ts'
import type { HttpEnv } from './frame.ts'
import { problem } from './problem.ts'
import type { VerifyToken } from './tokens.ts'

/** Looks at who calls. Gives the refusal, or nothing where the caller may pass. */
export type Guard = (c: Context<HttpEnv>) => Response | undefined | Promise<Response | undefined>

/** Lets only holders of the admin token pass; without a token configured, nobody. */
export function adminOnly(adminToken: string | undefined): Guard {
  const expected = adminToken === undefined ? undefined : digest(adminToken)
  return function adminOnly(c) {
    if (expected === undefined) return problem(c, refuse('FORBIDDEN', 'No admin token is configured.'))
    const given = bearerOf(c)
    // Digests have one length, so the comparison takes the same time whatever was sent.
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      return problem(c, refuse('UNAUTHENTICATED'), { 'WWW-Authenticate': 'Bearer' })
    }
    return undefined
  }
}

/** Lets only bearers of a valid token pass, and notes for whom they act. */
export function userOnly(verify: VerifyToken): Guard {
  return async function userOnly(c) {
    const token = bearerOf(c)
    const actor = token === undefined ? undefined : await verify(token)
    if (actor === undefined) {
      const challenge = token === undefined ? 'Bearer' : 'Bearer error="invalid_token"'
      return problem(c, refuse('UNAUTHENTICATED'), { 'WWW-Authenticate': challenge })
    }
    c.env.actor = actor
    return undefined
  }
}

/** Whether the caller may act for this user: it is the one of its token, or the gateway has seen to it. */
export function mayActFor(c: Context<HttpEnv>, userId: number): boolean {
  const { actor } = c.env
  return actor === undefined || actor === userId
}

function bearerOf(c: Context<HttpEnv>): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '')?.[1]
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
