import { sql } from 'drizzle-orm'
import {
  abandonedEntries,
  couponPolicies,
  coupons,
  orderItems,
  orders,
  outboxEvents,
  payments,
  products,
} from '../db/schema/index.ts'
import { statement } from '../db/statement.ts'

export interface LockedProduct {
  id: number
  name: string
  price: number
  stock: number
}

export interface LockedCoupon {
  id: string
  userId: number
  status: 'AVAILABLE' | 'USED' | 'EXPIRED' | 'CANCELED'
  expiresAt: Date
  discountType: 'AMOUNT' | 'PERCENT'
  discountValue: number
}

/** Pessimistic lock (PRD-5): rows in ascending id order. */
export const lockProducts = statement<{ ids: string }, LockedProduct>(sql`
  select ${products.id} as "id", ${products.name} as "name", ${products.price} as "price", ${products.stock} as "stock"
  from ${products}
  where ${products.id} = any(${sql.placeholder('ids')}::text::bigint[])
  order by ${products.id}
  for update`)

/** Fences of recovery: read behind the locks of the products, which recovery takes as well. */
export const findFences = statement<{ ids: string }, { id: string }>(sql`
  select ${abandonedEntries.id} as "id" from ${abandonedEntries}
  where ${abandonedEntries.id} = any(${sql.placeholder('ids')}::text::uuid[])`)

/** Locks coupons, ids ascending; the policy that goes with each never changes. */
export const lockCoupons = statement<{ ids: string }, LockedCoupon>(sql`
  select ${coupons.id} as "id", ${coupons.userId} as "userId", ${coupons.status} as "status",
    ${coupons.expiresAt} as "expiresAt", ${couponPolicies.discountType} as "discountType",
    ${couponPolicies.discountValue} as "discountValue"
  from ${coupons} join ${couponPolicies} on ${couponPolicies.id} = ${coupons.policyId}
  where ${coupons.id} = any(${sql.placeholder('ids')}::text::uuid[])
  order by ${coupons.id}
  for update of ${coupons}`)

/** Sets the stock of locked products. */
export const setStock = statement<{ stock: string }, never>(sql`
  update ${products} set stock = changed.stock
  from json_to_recordset(${sql.placeholder('stock')}::text::json) as changed (id bigint, stock int)
  where ${products.id} = changed.id`)

export const useCoupons = statement<{ coupons: string }, never>(sql`
  update ${coupons} set status = 'USED', used_at = used.used_at, order_id = used.order_id
  from json_to_recordset(${sql.placeholder('coupons')}::text::json)
    as used (id uuid, used_at timestamptz, order_id uuid)
  where ${coupons.id} = used.id`)

export const insertOrders = statement<{ orders: string }, never>(sql`
  insert into ${orders} (id, user_id, status, total_amount, discount_amount, final_amount, coupon_id, created_at)
  select id, "userId", status, "totalAmount", "discountAmount", "finalAmount", "couponId", "createdAt"
  from json_to_recordset(${sql.placeholder('orders')}::text::json)
    as o (id uuid, "userId" bigint, status text, "totalAmount" bigint, "discountAmount" bigint, "finalAmount" bigint,
      "couponId" uuid, "createdAt" timestamptz)`)

export const insertItems = statement<{ items: string }, never>(sql`
  insert into ${orderItems} (order_id, product_id, line, name, quantity, unit_price, amount)
  select "orderId", "productId", line, name, quantity, "unitPrice", amount
  from json_to_recordset(${sql.placeholder('items')}::text::json)
    as item ("orderId" uuid, "productId" bigint, line int, name text, quantity int, "unitPrice" bigint, amount bigint)`)

export const insertPayments = statement<{ payments: string }, never>(sql`
  insert into ${payments} (id, order_id, status, amount, created_at)
  select id, "orderId", status, amount, "createdAt"
  from json_to_recordset(${sql.placeholder('payments')}::text::json)
    as payment (id uuid, "orderId" uuid, status text, amount bigint, "createdAt" timestamptz)`)

/** In the order given, which is the order of the decisions. */
export const insertEvents = statement<{ events: string }, never>(sql`
  insert into ${outboxEvents} (event_id, type, order_id, occurred_at, payload)
  select "eventId", type, "orderId", "occurredAt", payload
  from json_to_recordset(${sql.placeholder('events')}::text::json)
    as event ("eventId" uuid, type text, "orderId" uuid, "occurredAt" timestamptz, payload json)`)
