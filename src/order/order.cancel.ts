import { sql } from 'drizzle-orm'
import { openLedger } from '../balance/ledger.ts'
import { type IdempotentCall, openAnswerBook, type Replay } from '../db/idempotency.ts'
import { balanceLimit, coupons as couponsTable, orders, payments } from '../db/schema/index.ts'
import { bigints, statement, uuids } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'
import { type Refusal, refuse } from '../errors.ts'
import type { PlacedEntry } from '../product/stock.ts'
import { findFences, insertEvents, lockCoupons, lockProducts, setStock } from './order.place.sql.ts'
import type { Order } from './order.ts'

/** A cancellation that is announced in Redis, on its way into Postgres. */
export interface Cancellation {
  /** id of its entry in pending */
  id: string
  /** as it was read before: what was ordered never changes, its status may */
  order: Order
  at: Date
  entries: PlacedEntry[]
  eventId: string
  call: IdempotentCall<{ order: Order }> | undefined
}

export type CancelOutcome =
  | { order: Order }
  | Replay
  | Refusal<'ORDER_NOT_CANCELABLE' | 'BALANCE_LIMIT_EXCEEDED' | 'IDEMPOTENCY_KEY_REUSED'>
  /** recovery took the cancellation for dead */
  | { abandoned: true }

/** Locks orders, ids ascending. */
const lockOrders = statement<{ ids: string }, { id: string; status: Order['status'] }>(sql`
  select ${orders.id} as "id", ${orders.status} as "status"
  from ${orders}
  where ${orders.id} = any(${sql.placeholder('ids')}::text::uuid[])
  order by ${orders.id}
  for update`)

const cancelOrders = statement<{ orders: string }, never>(sql`
  update ${orders} set status = 'CANCELED', canceled_at = canceled.at, cancellation_id = canceled.cancellation_id
  from json_to_recordset(${sql.placeholder('orders')}::text::json)
    as canceled (id uuid, at timestamptz, cancellation_id uuid)
  where ${orders.id} = canceled.id`)

const cancelPayments = statement<{ ids: string }, never>(sql`
  update ${payments} set status = 'CANCELED'
  where ${payments.orderId} = any(${sql.placeholder('ids')}::text::uuid[])`)

/** Gives coupons back, as EXPIRED where their time has passed. */
const giveBackCoupons = statement<{ coupons: string }, never>(sql`
  update ${couponsTable} set status = given.status, used_at = null, order_id = null
  from json_to_recordset(${sql.placeholder('coupons')}::text::json) as given (id uuid, status text)
  where ${couponsTable.id} = given.id`)

/** Writes cancellations inside `tx`, decided in the order given (ORD-6). */
export async function commitCancellations(
  tx: Transaction,
  cancellations: Cancellation[],
): Promise<CancelOutcome[]> {
  const productIds = new Set(
    cancellations.flatMap(({ order }) => order.items.map(({ productId }) => productId)),
  )
  const couponIds = new Set(
    cancellations.flatMap(({ order }) => (order.couponId === null ? [] : [order.couponId])),
  )
  // Orders come before what placing an order locks, and in the same order from there on.
  const [locked, coupons, products, fences, ledger, answers] = await Promise.all([
    tx.read(lockOrders, { ids: uuids([...new Set(cancellations.map(({ order }) => order.id))]) }),
    couponIds.size === 0 ? [] : tx.read(lockCoupons, { ids: uuids([...couponIds]) }),
    tx.read(lockProducts, { ids: bigints([...productIds]) }),
    tx.read(findFences, { ids: uuids(cancellations.map(({ id }) => id)) }),
    openLedger(tx, [...new Set(cancellations.map(({ order }) => order.userId))]),
    openAnswerBook(
      tx,
      cancellations.map(({ call }) => call),
    ),
  ])
  const statuses = new Map(locked.map(({ id, status }) => [id, status]))
  const stock = new Map(products.map((product) => [product.id, product.stock]))
  const fenced = new Set(fences.map(({ id }) => id))
  const done: { cancellation: Cancellation; order: Order }[] = []

  function decide(cancellation: Cancellation): CancelOutcome {
    const { id, order, at, call } = cancellation
    if (fenced.has(id)) return { abandoned: true }
    const answered = answers.find(call)
    if (answered) return answered
    const status = statuses.get(order.id)
    if (status !== 'PAID') return refuse('ORDER_NOT_CANCELABLE', `The order is ${status}.`)
    const refund = {
      userId: order.userId,
      type: 'REFUND',
      amount: order.finalAmount,
      orderId: order.id,
      at,
    } as const
    if (!ledger.enter(refund)) {
      return refuse('BALANCE_LIMIT_EXCEEDED', `With the refund the balance would reach ${balanceLimit} won.`)
    }
    statuses.set(order.id, 'CANCELED')
    for (const { productId, quantity } of order.items) {
      stock.set(productId, (stock.get(productId) ?? 0) + quantity)
    }
    const canceled: Order = {
      ...order,
      status: 'CANCELED',
      payment: { ...order.payment, status: 'CANCELED' },
    }
    done.push({ cancellation, order: canceled })
    answers.keep(call, { order: canceled }, at)
    return { order: canceled }
  }

  const outcomes = cancellations.map(decide)
  if (done.length > 0) {
    const expiries = new Map(coupons.map((coupon) => [coupon.id, coupon.expiresAt]))
    const given = done.flatMap(({ order, cancellation }) =>
      order.couponId === null
        ? []
        : [
            {
              id: order.couponId,
              status: isOver(expiries.get(order.couponId), cancellation.at) ? 'EXPIRED' : 'AVAILABLE',
            },
          ],
    )
    tx.write(cancelOrders, {
      orders: JSON.stringify(
        done.map(({ cancellation, order }) => ({
          id: order.id,
          at: cancellation.at,
          cancellation_id: cancellation.id,
        })),
      ),
    })
    tx.write(cancelPayments, { ids: uuids(done.map(({ order }) => order.id)) })
    tx.write(setStock, { stock: JSON.stringify([...stock].map(([id, units]) => ({ id, stock: units }))) })
    if (given.length > 0) tx.write(giveBackCoupons, { coupons: JSON.stringify(given) })
    tx.write(insertEvents, {
      events: JSON.stringify(
        done.map(({ cancellation, order }) => ({
          eventId: cancellation.eventId,
          type: 'order.canceled',
          orderId: order.id,
          occurredAt: cancellation.at,
          payload: order,
        })),
      ),
    })
  }
  ledger.write(tx)
  answers.write(tx)
  return outcomes
}

function isOver(expiresAt: Date | undefined, at: Date): boolean {
  return expiresAt !== undefined && expiresAt <= at
}
