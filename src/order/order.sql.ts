import { and, asc, desc, eq, inArray, lt, or, type SQL } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { orderItems, orders, payments } from '../db/schema/index.ts'
import { type Order, orderOf } from './order.ts'

/** An order, or undefined when there is none. */
export async function findOrder(db: Database, orderId: string): Promise<Order | undefined> {
  const [order] = await readOrders(db, eq(orders.id, orderId), 1)
  return order
}

/** A user's orders, newest first, those after `after`. */
export async function listOrders(
  db: Database,
  query: { userId: number; after: { createdAt: Date; id: string } | undefined; limit: number },
): Promise<Order[]> {
  const { userId, after, limit } = query
  return readOrders(
    db,
    and(
      eq(orders.userId, userId),
      after &&
        or(
          lt(orders.createdAt, after.createdAt),
          and(eq(orders.createdAt, after.createdAt), lt(orders.id, after.id)),
        ),
    ),
    limit,
  )
}

async function readOrders(db: Database, where: SQL | undefined, limit: number): Promise<Order[]> {
  const rows = await db
    .select({ order: orders, payment: payments })
    .from(orders)
    .innerJoin(payments, eq(payments.orderId, orders.id))
    .where(where)
    .orderBy(desc(orders.createdAt), desc(orders.id))
    .limit(limit)
  if (rows.length === 0) return []
  const items = await db
    .select()
    .from(orderItems)
    .where(
      inArray(
        orderItems.orderId,
        rows.map(({ order }) => order.id),
      ),
    )
    .orderBy(asc(orderItems.line))
  const byOrder = Map.groupBy(items, (item) => item.orderId)
  return rows.map(({ order, payment }) => orderOf(order, byOrder.get(order.id) ?? [], payment))
}
