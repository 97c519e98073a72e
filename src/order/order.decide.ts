import type { Ledger } from '../balance/ledger.ts'
import type { AnswerBook, IdempotentCall, Replay } from '../db/idempotency.ts'
import { type Refusal, refuse } from '../errors.ts'
import type { PlacedEntry } from '../product/stock.ts'
import type { Line } from '../redis/stock-scripts.ts'
import type { LockedCoupon, LockedProduct } from './order.place.sql.ts'
import { discountOf, type Order, textOf } from './order.ts'

/** `text` is its JSON, made once: for the answer, the answer that is kept, and the event. */
export type PlacedOrder = { order: Order; text: string }
export type FailedOrder = Refusal<'INSUFFICIENT_BALANCE'> & { order: Order }

/** An order whose stock is reserved, on its way into Postgres. */
export interface OrderRequest {
  orderId: string
  userId: number
  lines: Line[]
  couponId: string | null
  at: Date
  entries: PlacedEntry[]
  /** ids made before, as the decision takes neither time nor chance */
  paymentId: string
  eventId: string
  call: IdempotentCall<PlacedOrder | FailedOrder> | undefined
}

/** What Postgres made of an order. */
export type OrderOutcome =
  | PlacedOrder
  | FailedOrder
  | Replay
  | Refusal<
      | 'PRODUCT_NOT_FOUND'
      | 'STOCK_INSUFFICIENT'
      | 'COUPON_NOT_FOUND'
      | 'COUPON_NOT_AVAILABLE'
      | 'COUPON_EXPIRED'
      | 'FINAL_AMOUNT_NOT_POSITIVE'
      | 'IDEMPOTENCY_KEY_REUSED'
    >
  /** recovery took the request for dead and gave its stock back */
  | { abandoned: true }

/** What a batch of orders is decided from. */
export interface OrderGround {
  products: LockedProduct[]
  coupons: LockedCoupon[]
  /** ids of requests that recovery has given up */
  fences: Set<string>
  ledger: Ledger
  answers: AnswerBook
}

export interface OrderChanges {
  orders: { order: Order; text: string; request: OrderRequest }[]
  stock: Map<number, number>
  usedCoupons: { id: string; used_at: Date; order_id: string }[]
}

/** Decides orders from the rows that were read, as if they had come one after the other. */
export function decideOrders(
  requests: OrderRequest[],
  ground: OrderGround,
): { outcomes: OrderOutcome[]; changes: OrderChanges } {
  const { ledger, answers, fences } = ground
  const products = new Map(ground.products.map((product) => [product.id, { ...product }]))
  const coupons = new Map(ground.coupons.map((coupon) => [coupon.id, { ...coupon }]))
  const changes: OrderChanges = { orders: [], stock: new Map(), usedCoupons: [] }

  function decide(request: OrderRequest): OrderOutcome {
    const { orderId, userId, at, call } = request
    // To look up a new text, V8 looks for it among all strings of the program first; fences are hardly ever there.
    if (fences.size > 0 && fences.has(orderId)) return { abandoned: true }
    const answered = answers.find(call)
    if (answered) return answered

    const items: Order['items'] = []
    for (const { productId, quantity } of request.lines) {
      const product = products.get(productId)
      if (!product) return refuse('PRODUCT_NOT_FOUND', undefined, { productId })
      if (product.stock < quantity) {
        return refuse('STOCK_INSUFFICIENT', undefined, { productId, available: product.stock })
      }
      const { name, price: unitPrice } = product
      items.push({ productId, name, quantity, unitPrice, amount: unitPrice * quantity })
    }
    const totalAmount = items.reduce((sum, item) => sum + item.amount, 0)
    const coupon = request.couponId === null ? undefined : coupons.get(request.couponId)
    if (request.couponId !== null) {
      const refusal = refuseCoupon(coupon, userId, at)
      if (refusal) return refusal
    }
    const discountAmount = coupon ? discountOf(coupon, totalAmount) : 0
    const finalAmount = totalAmount - discountAmount
    if (finalAmount <= 0) return refuse('FINAL_AMOUNT_NOT_POSITIVE')

    const isPaid = ledger.enter({ userId, type: 'USE', amount: finalAmount, orderId, at })
    const order: Order = {
      id: orderId,
      userId,
      status: isPaid ? 'PAID' : 'FAILED',
      items,
      totalAmount,
      discountAmount,
      finalAmount,
      couponId: request.couponId,
      payment: {
        id: request.paymentId,
        type: 'BALANCE',
        status: isPaid ? 'COMPLETED' : 'FAILED',
        amount: finalAmount,
      },
      createdAt: at,
    }
    const text = textOf(order)
    changes.orders.push({ order, text, request })
    if (!isPaid) {
      const failed = insufficientBalance(order, ledger.balanceOf(userId))
      answers.keep(call, failed, at)
      return failed
    }
    for (const { productId, quantity } of items) {
      const product = products.get(productId) as LockedProduct
      product.stock -= quantity
      changes.stock.set(productId, product.stock)
    }
    if (coupon) {
      coupon.status = 'USED'
      changes.usedCoupons.push({ id: coupon.id, used_at: at, order_id: orderId })
    }
    answers.keep(call, { order, text }, at)
    return { order, text }
  }

  return { outcomes: requests.map(decide), changes }
}

/** Why a coupon cannot be used by this user now (CPN-5, CPN-6), or undefined. */
function refuseCoupon(coupon: LockedCoupon | undefined, userId: number, at: Date) {
  if (coupon?.userId !== userId) return refuse('COUPON_NOT_FOUND')
  if (coupon.status === 'USED' || coupon.status === 'CANCELED') {
    return refuse('COUPON_NOT_AVAILABLE', `The coupon is ${coupon.status}.`)
  }
  if (coupon.status === 'EXPIRED' || coupon.expiresAt <= at) return refuse('COUPON_EXPIRED')
  return undefined
}

function insufficientBalance(order: Order, balance: number): FailedOrder {
  return {
    ...refuse('INSUFFICIENT_BALANCE', undefined, { orderId: order.id, balance, required: order.finalAmount }),
    order,
  }
}
