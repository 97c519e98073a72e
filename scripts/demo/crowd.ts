import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'

const CONNECTIONS = 256
/** A 503 says to try again; so does a broken connection, as every call here is safe to repeat. */
const TRIES = 20
const RETRY_MS = 100

type Answer = { status: number; body: { id?: string; code?: string; couponId?: string } }

/** What the users of the sale have been told so far. */
export type Told = {
  charged: number
  /** users who have been through the sale */
  done: number
  issued: number
  soldOut: number
  paid: number
  tooLate: number
  /** anything else, by status and code */
  unexpected: Map<string, number>
  requests: number
  /** requests that were sent again after a 503 or a lost connection */
  retries: number
  /** of each request of the sale itself, in its order */
  latenciesMs: number[]
}

export type Sale = { users: number; policyId: number; productId: number; chargeWon: number }

/** The users of a sale: real HTTP calls over many connections, each user one step after the other. */
export function gatherCrowd(baseUrl: string, signal: AbortSignal) {
  const pool = new Pool(baseUrl, { connections: CONNECTIONS })
  const told: Told = {
    charged: 0,
    done: 0,
    issued: 0,
    soldOut: 0,
    paid: 0,
    tooLate: 0,
    unexpected: new Map(),
    requests: 0,
    retries: 0,
    latenciesMs: [],
  }

  async function post(path: string, body: object, key?: string): Promise<Answer> {
    const headers = { 'content-type': 'application/json', ...(key && { 'idempotency-key': key }) }
    for (let tried = 1; ; tried++) {
      const startedAt = performance.now()
      try {
        const answer = await pool.request({
          path,
          method: 'POST',
          headers,
          body: JSON.stringify(body),
          signal,
        })
        const json = (await answer.body.json()) as Answer['body']
        told.requests++
        told.latenciesMs.push(performance.now() - startedAt)
        if (answer.statusCode !== 503 || tried === TRIES) return { status: answer.statusCode, body: json }
      } catch (error) {
        if (signal.aborted || tried === TRIES) throw error
      }
      told.retries++
      await delay(RETRY_MS * Math.random() * tried, undefined, { signal })
    }
  }

  const unexpected = ({ status, body }: Answer) => {
    const answer = `${status} ${body.code ?? ''}`.trim()
    told.unexpected.set(answer, (told.unexpected.get(answer) ?? 0) + 1)
  }

  async function charge(userId: number, amount: number): Promise<void> {
    const answer = await post(`/v1/users/${userId}/balance/charge`, { amount }, `charge ${userId}`)
    if (answer.status === 200) told.charged++
    else unexpected(answer)
  }

  /** Asks for a coupon, then for a unit, with the coupon where there is one. */
  async function buy(userId: number, { policyId, productId }: Sale): Promise<void> {
    const coupon = await post(`/v1/coupon-policies/${policyId}/issue`, { userId })
    // After a lost answer the repeat is told of the coupon that it brought.
    const couponId = coupon.status === 201 ? coupon.body.id : coupon.body.couponId
    if (couponId !== undefined) told.issued++
    else if (coupon.body.code === 'COUPON_SOLD_OUT') told.soldOut++
    else unexpected(coupon)

    const items = [{ productId, quantity: 1 }]
    const order = await post('/v1/orders', { userId, items, couponId: couponId ?? null }, 'the only order')
    if (order.status === 201) told.paid++
    else if (order.body.code === 'STOCK_INSUFFICIENT') told.tooLate++
    else unexpected(order)
    told.done++
  }

  /** The users from 1 on, as many at a time as there are connections. */
  async function all(users: number, step: (userId: number) => Promise<void>): Promise<void> {
    let next = 1
    const one = async () => {
      while (next <= users) await step(next++)
    }
    await Promise.all(Array.from({ length: CONNECTIONS }, one))
  }

  return {
    told,
    charge: ({ users, chargeWon }: Sale) => all(users, (userId) => charge(userId, chargeWon)),
    async rush(sale: Sale) {
      told.latenciesMs.length = 0
      await all(sale.users, (userId) => buy(userId, sale))
    },
    leave: () => pool.destroy(),
  }
}
