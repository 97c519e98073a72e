/**
 * The closed table of problem codes (ALL-3, RFC 9457). Answers, domain outcomes and the OpenAPI document derive from
 * it; a code that is not here does not exist.
 */
export const problems = {
  VALIDATION_FAILED: { status: 400, title: 'The request is not valid' },
  UNAUTHENTICATED: { status: 401, title: 'Authentication is required' },
  INSUFFICIENT_BALANCE: { status: 402, title: 'The balance does not cover the order' },
  FORBIDDEN: { status: 403, title: 'Access is not allowed' },
  NOT_FOUND: { status: 404, title: 'There is no such route' },
  PRODUCT_NOT_FOUND: { status: 404, title: 'There is no such product' },
  COUPON_POLICY_NOT_FOUND: { status: 404, title: 'There is no such coupon policy' },
  COUPON_NOT_FOUND: { status: 404, title: 'There is no such coupon' },
  ORDER_NOT_FOUND: { status: 404, title: 'There is no such order' },
  SNAPSHOT_NOT_FOUND: { status: 404, title: 'There is no snapshot for this date' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The route does not take this method' },
  COUPON_SOLD_OUT: { status: 409, title: 'All coupons of this policy are issued' },
  COUPON_ALREADY_ISSUED: { status: 409, title: 'The user already holds a coupon of this policy' },
  COUPON_NOT_STARTED: { status: 409, title: 'Issuance has not started' },
  COUPON_ENDED: { status: 409, title: 'Issuance has ended' },
  COUPON_NOT_AVAILABLE: { status: 409, title: 'The coupon is not available' },
  COUPON_EXPIRED: { status: 409, title: 'The coupon has expired' },
  STOCK_INSUFFICIENT: { status: 409, title: 'There is not enough stock' },
  BALANCE_LIMIT_EXCEEDED: { status: 409, title: 'The balance would reach its limit' },
  BALANCE_CONFLICT: { status: 409, title: 'The balance was changed at the same time' },
  ORDER_NOT_CANCELABLE: { status: 409, title: 'The order cannot be canceled' },
  IDEMPOTENCY_IN_PROGRESS: { status: 409, title: 'The first request with this key is still running' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body is not application/json' },
  CHARGE_BELOW_MINIMUM: { status: 422, title: 'The charge is below the minimum' },
  FINAL_AMOUNT_NOT_POSITIVE: { status: 422, title: 'The amount after the discount is not above zero' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The idempotency key was used with another body' },
  RATE_LIMITED: { status: 429, title: 'Too many requests' },
  INTERNAL: { status: 500, title: 'Something broke on our side' },
  UNAVAILABLE: { status: 503, title: 'The service cannot take this request now' },
} as const satisfies Record<string, { status: number; title: string }>

export type ProblemCode = keyof typeof problems

/**
 * A refusal as a value (ALL-3): the code, a sentence for people, and what the code adds to the problem document.
 * Nothing was changed by the call that gives one.
 */
export interface Refusal<Code extends ProblemCode = ProblemCode> {
  refused: Code
  detail?: string
  extra?: Record<string, unknown>
}

/** Makes a refusal. `extra` holds what the code adds to the problem document, such as the coupon that the user has. */
export function refuse<Code extends ProblemCode>(
  code: Code,
  detail?: string,
  extra?: Record<string, unknown>,
): Refusal<Code> {
  return {
    refused: code,
    ...(detail === undefined ? {} : { detail }),
    ...(extra === undefined ? {} : { extra }),
  }
}

/**
 * A store is out of reach, a deadline has passed, or a bounded queue is full: answered as 503 `UNAVAILABLE`. For a
 * write the outcome may be unknown. The message is for logs and never leaves the server.
 */
export class Unavailable extends Error {
  override name = 'Unavailable'
}

/**
 * The load is shed: a queue is full, and nothing was done. Under three times the load these are most of the answers, so
 * they are counted by the metrics and leave no line in the log.
 */
export class Overloaded extends Unavailable {
  override name = 'Overloaded'
}
