import type { Context } from 'hono'
import { cors } from 'hono/cors'
import { createMiddleware } from 'hono/factory'

/**
 * The headers that tell a browser to take an answer for nothing but data. They are the same on every answer, and few:
 * those that only concern pages are left to the gateway. The reference page sets a policy of its own.
 */
export const safeHeaders = {
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  /** a year, in seconds */
  'Strict-Transport-Security': 'max-age=31536000',
  'X-Content-Type-Options': 'nosniff',
} as const

/** The headers of an answer of ours, as a literal: put together by spreading, they cost each request a microsecond. */
export function withSafeHeaders(type: string, requestId: string): Record<string, string> {
  return {
    'Content-Type': type,
    'X-Request-Id': requestId,
    'Content-Security-Policy': safeHeaders['Content-Security-Policy'],
    'Cross-Origin-Resource-Policy': safeHeaders['Cross-Origin-Resource-Policy'],
    'Referrer-Policy': safeHeaders['Referrer-Policy'],
    'Strict-Transport-Security': safeHeaders['Strict-Transport-Security'],
    'X-Content-Type-Options': safeHeaders['X-Content-Type-Options'],
  }
}

const preflightSeconds = 600

/** Lets pages of these origins call the API. Without credentials: there are no cookies, and a token is a header. */
export function allowOrigins(origins: string[]) {
  const answer = cors({
    origin: origins,
    allowMethods: ['GET', 'HEAD', 'POST'],
    allowHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key', 'X-Request-Id'],
    exposeHeaders: ['Idempotent-Replayed', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'X-Request-Id'],
    maxAge: preflightSeconds,
  })
  return createMiddleware(function allowOrigins(c, next) {
    // It takes every OPTIONS for a preflight, also one that no browser asks for.
    return c.req.method === 'OPTIONS' && !isPreflight(c) ? next() : answer(c, next)
  })
}

function isPreflight({ req }: Context): boolean {
  return req.header('origin') !== undefined && req.header('access-control-request-method') !== undefined
}
