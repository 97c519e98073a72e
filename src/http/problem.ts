import type { Context, TypedResponse } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { Logger } from 'pino'
import { type ProblemCode, problems, type Refusal, refuse } from '../errors.ts'
import type { HttpEnv } from './request-id.ts'

/** A problem document (RFC 9457) as api.md defines it; `extra` members of a code stand beside these. */
export interface Problem<Code extends ProblemCode = ProblemCode> {
  type: string
  title: string
  status: number
  code: Code
  detail?: string | undefined
  instance: string
  requestId: string
}

type ProblemResponse<Code extends ProblemCode> = Code extends ProblemCode
  ? Response & TypedResponse<Problem<Code>, (typeof problems)[Code]['status'], 'json'>
  : never

/** Seconds after which a caller that was turned away may come again. */
const retryAfterSeconds = '1'

/** Answers a refusal as a problem document. */
export function problem<Code extends ProblemCode>(
  c: Context<HttpEnv>,
  refusal: Refusal<Code>,
  headers: Record<string, string> = {},
): ProblemResponse<Code> {
  const { status, title } = problems[refusal.refused]
  const document: Problem = {
    type: `urn:seonchak:problem:${refusal.refused.toLowerCase().replaceAll('_', '-')}`,
    title,
    status,
    code: refusal.refused,
    detail: refusal.detail,
    instance: c.req.path,
    requestId: c.get('requestId'),
    ...refusal.extra,
  }
  return c.body(JSON.stringify(document), status, {
    'Content-Type': 'application/problem+json',
    ...headers,
  }) as unknown as ProblemResponse<Code>
}

/** Answers 400 with what is wrong where; `path` is empty for the body as a whole. */
export function invalid(c: Context<HttpEnv>, errors: { path: string; message: string }[]) {
  return problem(c, refuse('VALIDATION_FAILED', undefined, { errors }))
}

/**
 * Makes the handler of everything that was thrown: 503 where a store is out of reach, 500 for a bug. What was thrown
 * goes to the log and never to the client.
 */
export function createErrorHandler(log: Logger, isUnavailable: (error: unknown) => boolean) {
  return (error: Error, c: Context<HttpEnv>): Response => {
    const at = { requestId: c.get('requestId'), method: c.req.method, path: c.req.path }
    if (error instanceof HTTPException && error.status === 400) {
      return invalid(c, [{ path: '', message: 'The body is not valid JSON' }])
    }
    if (isUnavailable(error)) {
      log.warn({ err: error, ...at }, 'unavailable')
      return problem(c, refuse('UNAVAILABLE'), { 'Retry-After': retryAfterSeconds })
    }
    log.error({ err: error, ...at }, 'request failed')
    return problem(c, refuse('INTERNAL'))
  }
}
