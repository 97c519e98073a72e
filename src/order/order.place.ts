import { openLedger } from '../balance/ledger.ts'
import { openAnswerBook } from '../db/idempotency.ts'
import { bigints, uuids, words } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'
import {
  decideOrders,
  type OrderChanges,
  type OrderGround,
  type OrderOutcome,
  type OrderRequest,
} from './order.decide.ts'
import {
  findFences,
  insertItems,
  insertPlaced,
  type LockedCoupon,
  lockCoupons,
  lockProducts,
  readProducts,
  refuseFenced,
  setStock,
  takeStock,
  useCoupons,
} from './order.place.sql.ts'

/** Writes orders inside `tx`: locks, reads, decides each in the order given, and writes all of them (ORD-4). */
export async function commitOrders(tx: Transaction, requests: OrderRequest[]): Promise<OrderOutcome[]> {
  const [coupons, products, fences, ledger, answers] = await Promise.all([
    lockCouponsOf(tx, requests),
    tx.read(lockProducts, { ids: bigints(productsOf(requests)) }),
    tx.read(findFences, { ids: uuids(requests.map(({ orderId }) => orderId)) }),
    ...readUnlocked(tx, requests),
  ])
  const ground = { products, coupons, fences: new Set(fences.map(({ id }) => id)), ledger, answers }
  const { outcomes, changes } = decideOrders(requests, ground)
  writeOrders(tx, changes)
  if (changes.stock.size > 0) {
    tx.write(setStock, {
      stock: JSON.stringify([...changes.stock].map(([id, left]) => ({ id, stock: left }))),
    })
  }
  writeMoney(tx, changes, ground)
  return outcomes
}

/**
 * Writes orders inside `tx` as Redis reserved their stock: all else is read and decided before a product is locked
 * (PRD-5), and the orders with their lines are inserted before that, too. A product that everybody wants is so locked
 * for little more than COMMIT takes, and batches of it meet only there.
 *
 * What was decided holds, or the transaction fails as a whole (`isRuleBroken`), and `commitOrders` decides behind the
 * locks: when a product has not the units that Redis gave away, or another price; when recovery has given a request up;
 * when an Idempotency-Key was used meanwhile, or a balance has another version.
 */
export async function commitReserved(tx: Transaction, requests: OrderRequest[]): Promise<OrderOutcome[]> {
  const productIds = bigints(productsOf(requests))
  const [coupons, read, ledger, answers] = await Promise.all([
    lockCouponsOf(tx, requests),
    tx.read(readProducts, { ids: productIds }),
    ...readUnlocked(tx, requests),
  ])
  // Redis has seen to the stock; here it is only counted.
  const products = read.map((product) => ({ ...product, stock: endlessStock }))
  const ground = { products, coupons, fences: new Set<string>(), ledger, answers }
  const { outcomes, changes } = decideOrders(requests, ground)
  if (changes.orders.length === 0) return outcomes
  writeOrders(tx, changes)
  tx.write(lockProducts, { ids: productIds })
  tx.write(refuseFenced, { ids: uuids(requests.map(({ orderId }) => orderId)) })
  tx.write(takeStock, {
    ids: bigints(read.map(({ id }) => id)),
    names: JSON.stringify(read.map(({ name }) => name)),
    prices: bigints(read.map(({ price }) => price)),
    units: bigints(read.map(({ id }) => endlessStock - (changes.stock.get(id) ?? endlessStock))),
    expected: read.length,
  })
  writeMoney(tx, changes, ground)
  return outcomes
}

/** More units than the lines of a batch can ask for. */
const endlessStock = Number.MAX_SAFE_INTEGER

async function lockCouponsOf(tx: Transaction, requests: OrderRequest[]): Promise<LockedCoupon[]> {
  const ids = new Set(requests.flatMap(({ couponId }) => (couponId === null ? [] : [couponId])))
  return ids.size === 0 ? [] : tx.read(lockCoupons, { ids: uuids([...ids]) })
}

/** What no lock is taken for: balances, which have versions, and kept answers, which have a primary key. */
function readUnlocked(tx: Transaction, requests: OrderRequest[]) {
  return [
    openLedger(tx, [...new Set(requests.map(({ userId }) => userId))]),
    openAnswerBook(
      tx,
      requests.map(({ call }) => call),
    ),
  ] as const
}

function productsOf(requests: OrderRequest[]): number[] {
  return [...new Set(requests.flatMap(({ lines }) => lines.map(({ productId }) => productId)))]
}

/** Writes the orders of a batch with their payments, events and lines. */
function writeOrders(tx: Transaction, changes: OrderChanges): void {
  if (changes.orders.length === 0) return
  const placed = changes.orders.map(({ order }) => order)
  tx.write(insertPlaced, {
    ids: uuids(placed.map(({ id }) => id)),
    userIds: bigints(placed.map(({ userId }) => userId)),
    statuses: words(placed.map(({ status }) => status)),
    totals: bigints(placed.map(({ totalAmount }) => totalAmount)),
    discounts: bigints(placed.map(({ discountAmount }) => discountAmount)),
    finals: bigints(placed.map(({ finalAmount }) => finalAmount)),
    couponIds: uuids(placed.map(({ couponId }) => couponId)),
    paymentIds: uuids(placed.map(({ payment }) => payment.id)),
    eventIds: uuids(changes.orders.map(({ request }) => request.eventId)),
    times: bigints(placed.map(({ createdAt }) => createdAt.getTime())),
    payloads: `[${changes.orders.map(({ text }) => text).join()}]`,
  })
  const lines = placed.flatMap(({ id, items }) => items.map((item, line) => ({ ...item, orderId: id, line })))
  tx.write(insertItems, {
    orderIds: uuids(lines.map(({ orderId }) => orderId)),
    productIds: bigints(lines.map(({ productId }) => productId)),
    lines: bigints(lines.map(({ line }) => line)),
    names: JSON.stringify(lines.map(({ name }) => name)),
    quantities: bigints(lines.map(({ quantity }) => quantity)),
    prices: bigints(lines.map(({ unitPrice }) => unitPrice)),
  })
}

/** Writes what stands behind the locks of the products, in all that lock them: coupons, balances, kept answers. */
function writeMoney(tx: Transaction, { usedCoupons }: OrderChanges, { ledger, answers }: OrderGround): void {
  if (usedCoupons.length > 0) tx.write(useCoupons, { coupons: JSON.stringify(usedCoupons) })
  ledger.write(tx)
  answers.write(tx)
}
