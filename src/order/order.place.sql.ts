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
import type { Product } from '../product/product.ts'

export interface LockedProduct extends Product {
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

/** Products as they are now, without a lock and without their stock: `takeStock` sees to it that they still are so. */
export const readProducts = statement<{ ids: string }, Product>(sql`
  select ${products.id} as "id", ${products.name} as "name", ${products.price} as "price"
  from ${products}
  where ${products.id} = any(${sql.placeholder('ids')}::text::bigint[])`)

/**
 * Pessimistic lock (PRD-5): rows in ascending id order, and coupons before them. With NO KEY, as no key changes: a foreign
 * key that names a product does not wait for its stock.
 */
export const lockProducts = statement<{ ids: string }, LockedProduct>(sql`
  select ${products.id} as "id", ${products.name} as "name", ${products.price} as "price", ${products.stock} as "stock"
  from ${products}
  where ${products.id} = any(${sql.placeholder('ids')}::text::bigint[])
  order by ${products.id}
  for no key update`)

/** Fences of recovery: read behind the locks of the products, which recovery takes as well. */
export const findFences = statement<{ ids: string }, { id: string }>(sql`
  select ${abandonedEntries.id} as "id" from ${abandonedEntries}
  where ${abandonedEntries.id} = any(${sql.placeholder('ids')}::text::uuid[])`)

/** Fails the transaction when recovery has given one of these up (SC001): `findFences` as a condition. */
export const refuseFenced = statement<{ ids: string }, never>(sql`
  select require_rows((select count(*) from ${abandonedEntries}
    where ${abandonedEntries.id} = any(${sql.placeholder('ids')}::text::uuid[])), 0)`)

/** Locks coupons, ids ascending; the policy that goes with each never changes. NO KEY as for products. */
export const lockCoupons = statement<{ ids: string }, LockedCoupon>(sql`
  select ${coupons.id} as "id", ${coupons.userId} as "userId", ${coupons.status} as "status",
    ${coupons.expiresAt} as "expiresAt", ${couponPolicies.discountType} as "discountType",
    ${couponPolicies.discountValue} as "discountValue"
  from ${coupons} join ${couponPolicies} on ${couponPolicies.id} = ${coupons.policyId}
  where ${coupons.id} = any(${sql.placeholder('ids')}::text::uuid[])
  order by ${coupons.id}
  for no key update of ${coupons}`)

/** Sets the stock of locked products. */
export const setStock = statement<{ stock: string }, never>(sql`
  update ${products} set stock = changed.stock
  from json_to_recordset(${sql.placeholder('stock')}::text::json) as changed (id bigint, stock int)
  where ${products.id} = changed.id`)

/**
 * Takes units of locked products. Fails the transaction when one has another name or price than it was read with (SC001),
 * or has not so many units (23514).
 */
export const takeStock = statement<
  { ids: string; names: string; prices: string; units: string; expected: number },
  never
>(sql`
  with changed as (
    update ${products} set stock = stock - taken.units
    from rows from (
      unnest(${sql.placeholder('ids')}::text::bigint[], ${sql.placeholder('prices')}::text::bigint[],
        ${sql.placeholder('units')}::text::int[]),
      json_array_elements_text(${sql.placeholder('names')}::text::json)) as taken (id, price, units, name)
    where ${products.id} = taken.id and ${products.price} = taken.price and ${products.name} = taken.name
    returning 1)
  select require_rows((select count(*) from changed), ${sql.placeholder('expected')}::int)`)

export const useCoupons = statement<{ coupons: string }, never>(sql`
  update ${coupons} set status = 'USED', used_at = used.used_at, order_id = used.order_id
  from json_to_recordset(${sql.placeholder('coupons')}::text::json)
    as used (id uuid, used_at timestamptz, order_id uuid)
  where ${coupons.id} = used.id`)

/** Inserts orders with their payments, and events of those that are paid, in the order given: that of the decisions. */
export const insertPlaced = statement<
  {
    ids: string
    userIds: string
    statuses: string
    totals: string
    discounts: string
    finals: string
    couponIds: string
    paymentIds: string
    eventIds: string
    times: string
    payloads: string
  },
  never
>(sql`
  with placed as materialized (
    select *, to_timestamp(created_at_ms / 1000) as created_at
    from rows from (
      unnest(${sql.placeholder('ids')}::text::uuid[], ${sql.placeholder('userIds')}::text::bigint[],
        ${sql.placeholder('statuses')}::text::text[], ${sql.placeholder('totals')}::text::bigint[],
        ${sql.placeholder('discounts')}::text::bigint[], ${sql.placeholder('finals')}::text::bigint[],
        ${sql.placeholder('couponIds')}::text::uuid[], ${sql.placeholder('paymentIds')}::text::uuid[],
        ${sql.placeholder('eventIds')}::text::uuid[], ${sql.placeholder('times')}::text::double precision[]),
      json_array_elements(${sql.placeholder('payloads')}::text::json))
      as o (id, user_id, status, total_amount, discount_amount, final_amount, coupon_id, payment_id, event_id,
        created_at_ms, payload)),
  ordered as (
    insert into ${orders} (id, user_id, status, total_amount, discount_amount, final_amount, coupon_id, created_at)
    select id, user_id, status, total_amount, discount_amount, final_amount, coupon_id, created_at from placed),
  payment as (
    insert into ${payments} (id, order_id, status, amount, created_at)
    select payment_id, id, case status when 'PAID' then 'COMPLETED' else 'FAILED' end, final_amount, created_at
    from placed)
  insert into ${outboxEvents} (event_id, type, order_id, occurred_at, payload)
  select event_id, 'order.paid', id, created_at, payload from placed where status = 'PAID'`)

/** Inserts the lines of orders; an amount is price times quantity. */
export const insertItems = statement<
  { orderIds: string; productIds: string; lines: string; names: string; quantities: string; prices: string },
  never
>(sql`
  insert into ${orderItems} (order_id, product_id, line, name, quantity, unit_price, amount)
  select order_id, product_id, line, name, quantity, unit_price, unit_price * quantity
  from rows from (
    unnest(${sql.placeholder('orderIds')}::text::uuid[], ${sql.placeholder('productIds')}::text::bigint[],
      ${sql.placeholder('lines')}::text::int[], ${sql.placeholder('quantities')}::text::int[],
      ${sql.placeholder('prices')}::text::bigint[]),
    json_array_elements_text(${sql.placeholder('names')}::text::json))
    as item (order_id, product_id, line, quantity, unit_price, name)`)

/** In the order given, which is the order of the decisions. */
export const insertEvents = statement<{ events: string }, never>(sql`
  insert into ${outboxEvents} (event_id, type, order_id, occurred_at, payload)
  select "eventId", type, "orderId", "occurredAt", payload
  from json_to_recordset(${sql.placeholder('events')}::text::json)
    as event ("eventId" uuid, type text, "orderId" uuid, "occurredAt" timestamptz, payload json)`)
