import type { Context, TypedResponse } from 'hono'
import type { Logger } from 'pino'
import type { Answer } from '../db/idempotency.ts'
import { Overloaded, type ProblemCode, problems, type Refusal, refuse } from '../errors.ts'
import { type HttpEnv, respond } from './frame.ts'

/** A problem document (RFC 9457), as the OpenAPI document tells of it; `extra` members of a code stand beside these. */
export interface Problem<Code extends ProblemCode = ProblemCode> {
  type: string
  title: string
  status: number
  code: Code
  /** says more where there is more to say, else the same as the title */
  detail: string
  instance: string
  requestId: string
}

type ProblemResponse<Code extends ProblemCode> = Code extends ProblemCode
  ? Response & TypedResponse<Problem<Code>, (typeof problems)[Code]['status'], 'json'>
  : never

/** Seconds after which a caller that was turned away may come again. */
const retryAfterSeconds = '1'

/** The members that a code always has, as JSON without its last brace. */
const heads = headsOf(({ type, title, status, code }) => ({ type, title, status, code }))
/** The same for a refusal that says no more than its code. */
const plainHeads = headsOf((members) => members)

function headsOf(pick: (members: Omit<Problem, 'instance' | 'requestId'>) => object) {
  const entries = Object.entries(problems) as [ProblemCode, (typeof problems)[ProblemCode]][]
  const texts = entries.map(([code, { title, status }]) => {
    const type = `urn:seonchak:problem:${code.toLowerCase().replaceAll('_', '-')}`
    return [code, JSON.stringify(pick({ type, title, status, code, detail: title })).slice(0, -1)]
  })
  return Object.fromEntries(texts) as Record<ProblemCode, string>
}

/** A refusal as the text of its problem document. */
export function problemAnswer(c: Context<HttpEnv>, refusal: Refusal): Answer {
  return problemText(refusal, c.req.path, c.env.requestId)
}

/** The same of what is no request of the application. */
export function problemText(
  { refused, detail, extra }: Refusal,
  instance: string,
  requestId: string,
): Answer {
  const head =
    detail === undefined ? plainHeads[refused] : `${heads[refused]},"detail":${JSON.stringify(detail)}`
  // What a request id may hold needs no escape.
  const told = `${head},"instance":${JSON.stringify(instance)},"requestId":"${requestId}"`
  const more = extra === undefined ? '{}' : JSON.stringify(extra)
  const answer = more === '{}' ? `${told}}` : `${told},${more.slice(1)}`
  return { status: problems[refused].status, answer }
}

/** The media type of problem documents. */
export const problemType = 'application/problem+json'
const problemCode = /"code":"([A-Z_]+)"/

/** Sends an answer that is text already; from 400 on it is a problem document. */
export function send(
  c: Context<HttpEnv>,
  { status, answer }: Answer,
  headers?: Record<string, string>,
): Response {
  if (status < 400) return respond(c, status, 'application/json', answer, headers)
  // Read from the text, because kept answers come as text only.
  c.env.problemCode = problemCode.exec(answer)?.[1] ?? ''
  return respond(c, status, problemType, answer, headers)
}

/** Answers a refusal as a problem document. */
export function problem<Code extends ProblemCode>(
  c: Context<HttpEnv>,
  refusal: Refusal<Code>,
  headers?: Record<string, string>,
): ProblemResponse<Code> {
  c.env.problemCode = refusal.refused
  const { status, answer } = problemAnswer(c, refusal)
  return respond(c, status, problemType, answer, headers) as unknown as ProblemResponse<Code>
}

/** Answers 400 with what is wrong where; `path` is empty for the body as a whole. */
export function invalid(c: Context<HttpEnv>, errors: { path: string; message: string }[]) {
  return problem(c, refuse('VALIDATION_FAILED', undefined, { errors }))
}

/** Answers 503: the caller may come again soon. */
export function unavailable(c: Context<HttpEnv>, detail?: string) {
  return problem(c, refuse('UNAVAILABLE', detail), { 'Retry-After': retryAfterSeconds })
}

/**
 * Makes the handler of everything that was thrown: 503 where a store is out of reach, 500 for a bug. What was thrown
 * goes to the log and never to the client.
 */
export function createErrorHandler(log: Logger, isUnavailable: (error: unknown) => boolean) {
  return (error: Error, c: Context<HttpEnv>): Response => {
    const at = { requestId: c.env.requestId, method: c.req.method, path: c.req.path }
    if (isUnavailable(error)) {
      if (!(error instanceof Overloaded)) log.warn({ err: error, ...at }, 'unavailable')
      return unavailable(c)
    }
    log.error({ err: error, ...at }, 'request failed')
    return problem(c, refuse('INTERNAL'))
  }
}
