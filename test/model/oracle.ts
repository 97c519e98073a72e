import { expect } from 'vitest'
import { type Call, type PolicyShape, policyName, productName } from './commands.ts'

/** What the service must answer; ids and times that it makes are any. */
export interface Verdict {
  status: number
  body: unknown
  replayed?: boolean
  /** what the answer changes, to be done with the ids and times that it told */
  effect?(body: Made): void
}

interface Made {
  id: string
  orderId: string
  issuedAt: string
  expiresAt: string
  payment: { id: string }
}

interface Coupon extends Pick<PolicyShape, 'discountType' | 'discountValue'> {
  id: string
  policyId: number
  userId: number
  rank: number
  status: 'AVAILABLE' | 'USED' | 'EXPIRED' | 'CANCELED'
  issuedAt: string
  expiresAt: string
  usedAt: string | null
  orderId: string | null
}

interface Order {
  id: string
  userId: number
  status: 'PAID' | 'FAILED' | 'CANCELED'
  items: { productId: number; name: string; quantity: number; unitPrice: number; amount: number }[]
  totalAmount: number
  discountAmount: number
  finalAmount: number
  couponId: string | null
  payment: { id: string; type: 'BALANCE'; status: 'COMPLETED' | 'FAILED' | 'CANCELED'; amount: number }
  createdAt: string
}

const dayMs = 86_400_000
const limit = 10_000_000
const any = { id: expect.any(String) as string, number: expect.any(Number) as number }

const refuse = (status: number, code: string, extra: Record<string, unknown> = {}): Verdict => ({
  status,
  body: expect.objectContaining({ status, code, ...extra }),
})

/** The whole service in memory, written from the requirements: one call after the other, nothing ever fails. */
export function createOracle(clock: { now: number }, shards: number) {
  const balances = new Map<number, number>()
  const entries: { userId: number; entry: Record<string, unknown> }[] = []
  const products = new Map<number, { id: number; name: string; price: number; stock: number }>()
  const policies = new Map<number, PolicyShape & { id: number; issued: number }>()
  const coupons = new Map<string, Coupon>()
  const orders = new Map<string, Order>()
  const kept = new Map<string, { body: string; verdict: Verdict }>()

  const time = () => new Date(clock.now).toISOString()
  const balanceOf = (userId: number) => balances.get(userId) ?? 0

  function enter(userId: number, type: string, amount: number, orderId: string | null): void {
    balances.set(userId, balanceOf(userId) + (type === 'USE' ? -amount : amount))
    const balanceAfter = balanceOf(userId)
    const entry = { id: any.number, type, amount, balanceAfter, orderId, createdAt: time() }
    entries.unshift({ userId, entry })
  }

  /** A coupon as it reads now (CPN-6). */
  function seen(coupon: Coupon): Coupon {
    const isOver = coupon.status === 'AVAILABLE' && Date.parse(coupon.expiresAt) <= clock.now
    return isOver ? { ...coupon, status: 'EXPIRED' } : coupon
  }

  /** ALL-2: what had an effect is answered again to the same body. */
  function once(route: string, userId: number, key: string | undefined, body: unknown, judge: () => Verdict) {
    if (key === undefined) return judge()
    const [name, text] = [`${userId} ${route} ${key}`, JSON.stringify(body)]
    const before = kept.get(name)
    if (before) return before.body === text ? before.verdict : refuse(422, 'IDEMPOTENCY_KEY_REUSED')
    const verdict = judge()
    const { status, effect } = verdict
    if (!effect) return verdict
    return {
      ...verdict,
      effect(made: Made) {
        effect(made)
        kept.set(name, { body: text, verdict: { status, body: made, replayed: true } })
      },
    }
  }

  function charge(userId: number, amount: number): Verdict {
    if (amount < 10_000) return refuse(422, 'CHARGE_BELOW_MINIMUM')
    const balance = balanceOf(userId) + amount
    if (balance >= limit) return refuse(409, 'BALANCE_LIMIT_EXCEEDED')
    return { status: 200, body: { userId, balance }, effect: () => enter(userId, 'CHARGE', amount, null) }
  }

  function issue(policyId: number, userId: number): Verdict {
    const policy = policies.get(policyId)
    if (!policy) return refuse(404, 'COUPON_POLICY_NOT_FOUND')
    const held = [...coupons.values()].find((each) => each.policyId === policyId && each.userId === userId)
    if (held) return refuse(409, 'COUPON_ALREADY_ISSUED', { couponId: held.id })
    if (policy.issued >= policy.totalQuantity) return refuse(409, 'COUPON_SOLD_OUT')
    const { discountType, discountValue } = policy
    const coupon = {
      ...{ id: any.id, policyId, userId, rank: policy.issued + 1, status: 'AVAILABLE' as const },
      ...{ discountType, discountValue, issuedAt: any.id, expiresAt: any.id, usedAt: null, orderId: null },
    }
    return {
      status: 201,
      body: coupon,
      effect({ id, issuedAt, expiresAt }) {
        expect(Date.parse(expiresAt) - Date.parse(issuedAt)).toBe(policy.validDays * dayMs)
        policy.issued++
        coupons.set(id, { ...coupon, id, issuedAt, expiresAt })
      },
    }
  }

  function withdraw(couponId: string): Verdict {
    const coupon = coupons.get(couponId)
    if (!coupon) return refuse(404, 'COUPON_NOT_FOUND')
    const { status } = seen(coupon)
    if (status === 'EXPIRED') return refuse(409, 'COUPON_EXPIRED')
    if (status !== 'AVAILABLE') return refuse(409, 'COUPON_NOT_AVAILABLE')
    const body = { ...coupon, status: 'CANCELED' as const }
    return { status: 200, body, effect: () => void coupons.set(couponId, body) }
  }

  function order({ userId, items, couponId }: Call & { kind: 'order' }): Verdict {
    const lines = []
    // A product lives in one shard, and shards are asked in ascending order: what is missing in one, then what is short.
    for (let shard = 0; shard < shards; shard++) {
      const part = items.filter(({ productId }) => productId % shards === shard)
      const missing = part.find(({ productId }) => !products.has(productId))
      if (missing) return refuse(404, 'PRODUCT_NOT_FOUND', { productId: missing.productId })
      for (const { productId, quantity } of part) {
        const available = products.get(productId)?.stock ?? 0
        if (available < quantity) return refuse(409, 'STOCK_INSUFFICIENT', { productId, available })
      }
    }
    for (const { productId, quantity } of items) {
      const { name = '', price = 0 } = products.get(productId) ?? {}
      lines.push({ productId, name, quantity, unitPrice: price, amount: price * quantity })
    }
    const coupon = couponId === undefined ? undefined : coupons.get(couponId)
    if (couponId !== undefined) {
      if (coupon?.userId !== userId) return refuse(404, 'COUPON_NOT_FOUND')
      const { status } = seen(coupon)
      if (status === 'EXPIRED') return refuse(409, 'COUPON_EXPIRED')
      if (status !== 'AVAILABLE') return refuse(409, 'COUPON_NOT_AVAILABLE')
    }
    const totalAmount = lines.reduce((sum, { amount }) => sum + amount, 0)
    const percent = coupon?.discountType === 'PERCENT' ? BigInt(coupon.discountValue) : 0n
    const discountAmount = percent
      ? Number((BigInt(totalAmount) * percent) / 100n)
      : (coupon?.discountValue ?? 0)
    const finalAmount = totalAmount - discountAmount
    if (finalAmount <= 0) return refuse(422, 'FINAL_AMOUNT_NOT_POSITIVE')

    const balance = balanceOf(userId)
    const isPaid = balance >= finalAmount
    const placed: Order = {
      id: any.id,
      userId,
      status: isPaid ? 'PAID' : 'FAILED',
      items: lines,
      totalAmount,
      discountAmount,
      finalAmount,
      couponId: couponId ?? null,
      payment: {
        id: any.id,
        type: 'BALANCE',
        status: isPaid ? 'COMPLETED' : 'FAILED',
        amount: finalAmount,
      },
      createdAt: time(),
    }
    if (!isPaid) {
      return {
        ...refuse(402, 'INSUFFICIENT_BALANCE', { orderId: any.id, balance, required: finalAmount }),
        effect: ({ orderId }) => void orders.set(orderId, { ...placed, id: orderId }),
      }
    }
    return {
      status: 201,
      body: placed,
      effect({ id, payment }) {
        orders.set(id, { ...placed, id, payment: { ...placed.payment, id: payment.id } })
        enter(userId, 'USE', finalAmount, id)
        for (const { productId, quantity } of items) add(productId, -quantity)
        if (coupon) coupons.set(coupon.id, { ...coupon, status: 'USED', usedAt: time(), orderId: id })
      },
    }
  }

  function cancel(placed: Order): Verdict {
    if (placed.status !== 'PAID') return refuse(409, 'ORDER_NOT_CANCELABLE')
    if (balanceOf(placed.userId) + placed.finalAmount >= limit) return refuse(409, 'BALANCE_LIMIT_EXCEEDED')
    const canceled: Order = {
      ...placed,
      status: 'CANCELED',
      payment: { ...placed.payment, status: 'CANCELED' },
    }
    return {
      status: 200,
      body: canceled,
      effect() {
        orders.set(placed.id, canceled)
        enter(placed.userId, 'REFUND', placed.finalAmount, placed.id)
        for (const { productId, quantity } of placed.items) add(productId, quantity)
        const coupon = coupons.get(placed.couponId ?? '')
        if (coupon) {
          coupons.set(coupon.id, seen({ ...coupon, status: 'AVAILABLE', usedAt: null, orderId: null }))
        }
      },
    }
  }

  function add(productId: number, units: number): void {
    const product = products.get(productId)
    if (product) product.stock += units
  }

  return {
    /** What a call must be answered now. */
    judge(call: Exclude<Call, { kind: 'wait' }>): Verdict {
      switch (call.kind) {
        case 'charge': {
          const { userId, amount, key } = call
          return once('charge', userId, key, { amount }, () => charge(userId, amount))
        }
        case 'create product': {
          const { price, stock } = call
          const body = { id: any.number, name: productName, price, stock }
          const effect = ({ id }: Made) => void products.set(Number(id), { ...body, id: Number(id) })
          return { status: 201, body, effect }
        }
        case 'restock': {
          const product = products.get(call.productId)
          if (!product) return refuse(404, 'PRODUCT_NOT_FOUND')
          const body = { ...product, stock: product.stock + call.quantity }
          return { status: 200, body, effect: () => add(call.productId, call.quantity) }
        }
        case 'create policy': {
          const { kind, ...shape } = call
          const body = { id: any.number, name: policyName, remainingQuantity: shape.totalQuantity, ...shape }
          const times = { issueStartsAt: any.id, issueEndsAt: any.id }
          const effect = ({ id }: Made) =>
            void policies.set(Number(id), { ...shape, id: Number(id), issued: 0 })
          return { status: 201, body: { ...body, ...times }, effect }
        }
        case 'issue':
          return issue(call.policyId, call.userId)
        case 'withdraw':
          return withdraw(call.couponId)
        case 'order': {
          const { userId, items, couponId, key } = call
          return once('order', userId, key, { items, couponId }, () => order(call))
        }
        case 'cancel': {
          const placed = orders.get(call.orderId)
          if (!placed) return refuse(404, 'ORDER_NOT_FOUND')
          return once(`cancel ${placed.id}`, placed.userId, call.key, {}, () => cancel(placed))
        }
      }
    },
    /** Everything that can be asked for, by the path that asks for it. */
    everything(userIds: number[]): Map<string, unknown> {
      const all = new Map<string, unknown>()
      const list = (items: unknown[]) => ({ items, nextCursor: null })
      const newest = <Item>(items: Iterable<Item>, textOf: (item: Item) => string) =>
        [...items].sort((a, b) => (textOf(a) < textOf(b) ? 1 : -1))
      all.set('/v1/products?limit=100', list([...products.values()]))
      for (const { id, issued, totalQuantity } of policies.values()) {
        const remainingQuantity = totalQuantity - issued
        all.set(`/v1/coupon-policies/${id}`, expect.objectContaining({ totalQuantity, remainingQuantity }))
      }
      for (const userId of userIds) {
        const of = `/v1/users/${userId}`
        const own = <Item extends { userId: number }>(items: Iterable<Item>) =>
          [...items].filter((item) => item.userId === userId)
        const held = newest(own(coupons.values()), ({ issuedAt, id }) => issuedAt + id)
        all.set(`${of}/balance`, { userId, balance: balanceOf(userId) })
        all.set(`${of}/balance/history?limit=100`, list(own(entries).map(({ entry }) => entry)))
        all.set(`${of}/orders?limit=100`, list(newest(own(orders.values()), ({ createdAt }) => createdAt)))
        all.set(`${of}/coupons?limit=100`, list(held.map(seen)))
      }
      return all
    },
    /** How many coupons of each policy are issued. */
    issued: () => new Map([...policies.values()].map(({ id, issued }) => [id, issued])),
  }
}
