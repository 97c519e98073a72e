import { cors } from 'hono/cors'
import { secureHeaders } from 'hono/secure-headers'

const yearSeconds = 31_536_000

/**
 * The headers that tell a browser to take an answer for nothing but data. They are the same on every answer, and few:
 * those that only concern pages are left to the gateway. The reference page sets a policy of its own.
 */
export const safeHeaders = secureHeaders({
  contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  strictTransportSecurity: `max-age=${yearSeconds}`,
  crossOriginResourcePolicy: 'same-origin',
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
  removePoweredBy: false,
  overwrite: false,
})

const preflightSeconds = 600

/** Lets pages of these origins call the API. Without credentials: there are no cookies, and a token is a header. */
export function allowOrigins(origins: string[]) {
  return cors({
    origin: origins,
    allowMethods: ['GET', 'HEAD', 'POST'],
    allowHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key', 'X-Request-Id'],
    exposeHeaders: ['Idempotent-Replayed', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'X-Request-Id'],
    maxAge: preflightSeconds,
  })
}
