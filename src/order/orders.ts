import type { MemberResult } from '../commit/group-commit.ts'
import { classifyFailure, isLostRace } from '../db/failure.ts'
import type { IdempotentCall } from '../db/idempotency.ts'
import type { Transaction } from '../db/transactions.ts'
import type { Deps } from '../deps.ts'
import { Overloaded, type Refusal, refuse, Unavailable } from '../errors.ts'
import { seoulDay } from '../product/product.ts'
import type { PlacedSettlement, Stock } from '../product/stock.ts'
import type { Line } from '../redis/stock-scripts.ts'
import { createObservedCommit } from '../telemetry/observed-commit.ts'
import { type Cancellation, type CancelOutcome, commitCancellations } from './order.cancel.ts'
import type { FailedOrder, OrderOutcome, OrderRequest, PlacedOrder } from './order.decide.ts'
import { commitOrders, commitReserved } from './order.place.ts'
import { findOrder, listOrders } from './order.sql.ts'
import type { Order } from './order.ts'

export type Orders = ReturnType<typeof createOrders>

/** The order domain: place, cancel, look at. `onEvents` is told after a commit that wrote events; it must not throw. */
export function createOrders(deps: Deps & { stock: Stock; onEvents: () => void }) {
  const { db, transactions, trusting, stock, onEvents, now, newId, commitOptions, tracing } = deps

  /** Commits a batch, and tells of its events once they are there to be read. */
  async function commit<Outcome extends object>(
    body: (tx: Transaction) => Promise<Outcome[]>,
  ): Promise<Outcome[]> {
    const outcomes = await transactions.run(body)
    if (outcomes.some(hasEvent)) onEvents()
    return outcomes
  }

  const placing = createObservedCommit<OrderRequest, OrderOutcome>(
    'order',
    {
      ...commitOptions,
      commit: (requests) =>
        trusting(
          () => commit((tx) => commitReserved(tx, requests)),
          () => commit((tx) => commitOrders(tx, requests)),
        ),
      settle: (requests, results) =>
        stock.settle(requests.flatMap((request, index) => settlePlaced(request, results[index]))),
      classify: classifyFailure,
    },
    deps,
  )

  const canceling = createObservedCommit<Cancellation, CancelOutcome>(
    'cancel',
    {
      ...commitOptions,
      commit: (cancellations) => commit((tx) => commitCancellations(tx, cancellations)),
      settle: (cancellations, results) =>
        stock.settle(
          cancellations.flatMap((cancellation, index) => settleCanceled(cancellation, results[index])),
        ),
      classify: classifyFailure,
    },
    deps,
  )

  /**
   * Orders and pays in one call (ORD-1). An order refused for lack of balance is recorded as FAILED (ORD-5).
   * @throws Unavailable when a store is away or a queue is full; whether it was ordered may then be unknown
   */
  async function place(
    input: { userId: number; lines: Line[]; couponId: string | null },
    call: IdempotentCall<PlacedOrder | FailedOrder> | undefined,
  ): Promise<Exclude<OrderOutcome, { abandoned: true }> | Refusal<'BALANCE_CONFLICT'>> {
    const seat = placing.reserve()
    if (!seat) throw new Overloaded('the commit queue is full')
    try {
      const orderId = newId()
      const entries = await tracing.span('order.admit', () => stock.reserve(orderId, input.lines))
      if ('refused' in entries) return entries
      const at = new Date(now())
      const request = { ...input, orderId, at, entries, paymentId: newId(), eventId: newId(), call }
      return known(await seat.submit(request))
    } catch (error) {
      if (isLostRace(error)) return refuse('BALANCE_CONFLICT')
      throw error
    } finally {
      seat.release()
    }
  }

  /**
   * Cancels a paid order, once (ORD-6). @throws Unavailable as `place` does
   */
  async function cancel(
    order: Order,
    call: IdempotentCall<{ order: Order }> | undefined,
  ): Promise<Exclude<CancelOutcome, { abandoned: true }> | Refusal<'BALANCE_CONFLICT'>> {
    const seat = canceling.reserve()
    if (!seat) throw new Overloaded('the commit queue is full')
    try {
      // Status as read a moment ago: what is no longer PAID never becomes so again, and needs no transaction.
      if (order.status !== 'PAID') {
        return refuse('ORDER_NOT_CANCELABLE', `The order is ${order.status}.`)
      }
      const id = newId()
      const lines = order.items.map(({ productId, quantity }) => ({ productId, quantity }))
      const entries = await tracing.span('cancel.admit', () =>
        stock.announce({ kind: 'cancel', id, orderId: order.id, lines }),
      )
      return known(await seat.submit({ id, order, at: new Date(now()), entries, eventId: newId(), call }))
    } catch (error) {
      if (isLostRace(error)) return refuse('BALANCE_CONFLICT')
      throw error
    } finally {
      seat.release()
    }
  }

  return {
    place: (...args: Parameters<typeof place>) => tracing.span('order', () => place(...args)),
    cancel: (...args: Parameters<typeof cancel>) => tracing.span('cancel', () => cancel(...args)),
    find: (orderId: string): Promise<Order | undefined> => findOrder(db, orderId),
    listForUser: (query: Parameters<typeof listOrders>[1]): Promise<Order[]> => listOrders(db, query),
    commits: [placing, canceling],
  }
}

/** A call that recovery took for dead had no effect; its caller may repeat it. */
function known<Outcome extends object>(outcome: Outcome): Exclude<Outcome, { abandoned: true }> {
  if ('abandoned' in outcome) throw new Unavailable('the request took so long that recovery gave it up')
  return outcome as Exclude<Outcome, { abandoned: true }>
}

/** Whether an outcome came with an event: an order was paid or cancelled, and neither refused nor FAILED. */
function hasEvent(outcome: object): boolean {
  return 'order' in outcome && !('refused' in outcome)
}

/** What Redis is to do about the entries of an order; nothing when its fate is unknown, which recovery finds out. */
function settlePlaced(
  { entries, at }: OrderRequest,
  result: MemberResult<OrderOutcome> | undefined,
): PlacedSettlement[] {
  if (!result || (!result.ok && !result.rolledBack)) return []
  const outcome = result.ok ? result.outcome : undefined
  const isPaid = outcome !== undefined && 'order' in outcome && !('refused' in outcome)
  // Postgres found less than Redis had: Redis is wrong about these products.
  const isStale =
    outcome !== undefined &&
    'refused' in outcome &&
    (outcome.refused === 'STOCK_INSUFFICIENT' || outcome.refused === 'PRODUCT_NOT_FOUND')
  return entries.map((entry) => ({
    ...entry,
    committed: isPaid,
    units: isPaid ? 'keep' : isStale ? 'drop' : 'give',
    sold: isPaid ? { day: seoulDay(at), sign: 1 } : null,
  }))
}

/** What Redis is to do about the entries of a cancellation. */
function settleCanceled(
  { entries, order }: Cancellation,
  result: MemberResult<CancelOutcome> | undefined,
): PlacedSettlement[] {
  if (!result || (!result.ok && !result.rolledBack)) return []
  const isCanceled = result.ok && 'order' in result.outcome
  return entries.map((entry) => ({
    ...entry,
    committed: isCanceled,
    units: isCanceled ? 'give' : 'keep',
    sold: isCanceled ? { day: seoulDay(order.createdAt), sign: -1 } : null,
  }))
}
