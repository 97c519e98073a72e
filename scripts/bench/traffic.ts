/**
 * What the load generator sends, as plain data: it runs in a process of its own. Ids are counted up or drawn in the
 * generator, so that a request costs it one short string.
 */
export type Traffic =
  /** one coupon of the policy for each user from `firstUser` on; of `users` in turn, when given */
  | { kind: 'issue'; policyId: number; firstUser: number; users?: number | undefined }
  /** `lines` products, one unit each, drawn from `products` that begin at `firstProduct`; users take turns */
  | {
      kind: 'order'
      firstProduct: number
      products: number
      lines: number
      users: number
      /** so many coupons of the users from 1 on, each used once, with the ids of `couponIdOf` */
      coupons?: { policyId: number; count: number } | undefined
      /** with an Idempotency-Key of its own on each order, which begins with this; another in each measurement */
      keyed?: string | undefined
    }
  | { kind: 'product'; firstProduct: number; products: number }
  | { kind: 'popular' }
  | { kind: 'mix'; parts: { weight: number; traffic: Traffic }[] }

export type PlainRequest = { method: 'GET' | 'POST'; path: string; headers?: string[]; body?: string }

const json = ['content-type', 'application/json']

/** The id of the n-th coupon of a policy that a set-up writes: a valid UUIDv7 that both sides can compute. */
export function couponIdOf(policyId: number, n: number): string {
  return `00000000-0000-7000-8${hex(policyId, 3)}-${hex(n, 12)}`
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

/**
 * Makes the function that gives the next request. It gives undefined when there is nothing left to send, which only
 * coupons that are used up bring about.
 * @param random from 0 to below 1
 */
export function createRequests(traffic: Traffic, random = Math.random): () => PlainRequest | undefined {
  switch (traffic.kind) {
    case 'issue':
      return issues(traffic)
    case 'order':
      return orders(traffic, random)
    case 'product': {
      const { firstProduct, products } = traffic
      return () => ({
        method: 'GET',
        path: `/v1/products/${firstProduct + Math.floor(random() * products)}`,
      })
    }
    case 'popular': {
      const request: PlainRequest = { method: 'GET', path: '/v1/products/popular' }
      return () => request
    }
    case 'mix':
      return mixed(traffic, random)
  }
}

function issues({ policyId, firstUser, users }: Extract<Traffic, { kind: 'issue' }>): () => PlainRequest {
  const path = `/v1/coupon-policies/${policyId}/issue`
  let sent = 0
  return () => {
    const userId = firstUser + (users === undefined ? sent : sent % users)
    sent++
    return { method: 'POST', path, headers: json, body: `{"userId":${userId}}` }
  }
}

function orders(
  { firstProduct, products, lines, users, coupons, keyed }: Extract<Traffic, { kind: 'order' }>,
  random: () => number,
): () => PlainRequest | undefined {
  const path = '/v1/orders'
  // Neighbours of a drawn one, so that no product is in two lines.
  const line = (drawn: number, at: number) =>
    `{"productId":${firstProduct + ((drawn + at) % products)},"quantity":1}`
  let sent = 0
  return () => {
    sent++
    if (coupons !== undefined && sent > coupons.count) return undefined
    const drawn = Math.floor(random() * products)
    let items = line(drawn, 0)
    for (let at = 1; at < lines; at++) items += `,${line(drawn, at)}`
    // A coupon is its user's; without one, users take turns far apart, so that nobody orders twice at once.
    const userId = coupons === undefined ? (sent % users) + 1 : sent
    const coupon = coupons === undefined ? '' : `,"couponId":"${couponIdOf(coupons.policyId, sent)}"`
    const headers = keyed === undefined ? json : [...json, 'idempotency-key', `${keyed} ${sent}`]
    return { method: 'POST', path, headers, body: `{"userId":${userId},"items":[${items}]${coupon}}` }
  }
}

function mixed(
  { parts }: Extract<Traffic, { kind: 'mix' }>,
  random: () => number,
): () => PlainRequest | undefined {
  const makers = parts.flatMap(({ weight, traffic }) => {
    const next = createRequests(traffic, random)
    return Array.from({ length: weight }, () => next)
  })
  return () => makers[Math.floor(random() * makers.length)]?.()
}
