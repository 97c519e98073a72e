import { createMiddleware } from 'hono/factory'
import { refuse } from '../errors.ts'
import { problem } from './problem.ts'
import type { HttpEnv } from './request-id.ts'

/** Times that the deadlines are looked at while one runs: a request may take this part longer. */
const looksPerDeadline = 20

/**
 * Answers 503 when a request has taken `timeoutMs`. What it was doing goes on, and what it commits stays: a repeat with
 * the same key gets the answer. All deadlines are equally far away, so they pass in the order in which they were set:
 * one interval looks at the oldest, instead of a timer for each request.
 */
export function createDeadline(timeoutMs: number) {
  const underWay = new Set<{ passesAt: number; pass(isLate: true): void }>()
  let interval: NodeJS.Timeout | undefined

  function look(): void {
    const now = performance.now()
    for (const request of underWay) {
      if (request.passesAt > now) break
      underWay.delete(request)
      request.pass(true)
    }
    if (underWay.size > 0) return
    clearInterval(interval)
    interval = undefined
  }

  return createMiddleware<HttpEnv>(async function deadline(c, next) {
    const { promise: passed, resolve: pass } = Promise.withResolvers<true>()
    const request = { passesAt: performance.now() + timeoutMs, pass }
    underWay.add(request)
    interval ??= setInterval(look, timeoutMs / looksPerDeadline).unref()
    try {
      const isLate = await Promise.race([next(), passed])
      // `next` gives the context.
      if (isLate !== true) return undefined
      return problem(c, refuse('UNAVAILABLE', 'It took too long.'), { 'Retry-After': '1' })
    } finally {
      underWay.delete(request)
    }
  })
}
