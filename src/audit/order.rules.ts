import { sql } from 'drizzle-orm'
import {
  balanceEntries,
  couponPolicies,
  coupons,
  orderItems,
  orders,
  outboxEvents,
  payments,
} from '../db/schema/index.ts'
import type { PostgresRule } from './postgres.ts'

const looked = sql`select count(*) from ${orders}`

/**
 * Orders in Postgres. `eventsFrom` is the time from which no event has been deleted for its age: what happened before
 * it may have its events no more.
 */
export function orderRules(eventsFrom: Date): PostgresRule[] {
  const since = sql`${eventsFrom.toISOString()}::timestamptz`
  return [
    {
      rule: 'order-total-is-lines',
      about: 'the total of an order is the sum of its lines (ORD-1)',
      looked,
      violations: sql`
        select o.id as "orderId", o.total_amount as "totalAmount", coalesce(i.amount, 0) as "lines"
        from ${orders} o
        left join (select i.order_id, sum(i.amount) as amount from ${orderItems} i group by 1) i on i.order_id = o.id
        where o.total_amount <> coalesce(i.amount, 0)`,
    },
    {
      rule: 'order-final-amount',
      about: 'the final amount is the total less the discount, and above zero (CPN-8)',
      looked,
      violations: sql`
        select o.id as "orderId", o.total_amount as "totalAmount", o.discount_amount as "discountAmount",
          o.final_amount as "finalAmount"
        from ${orders} o where o.final_amount <> o.total_amount - o.discount_amount or o.final_amount <= 0`,
    },
    {
      rule: 'order-discount',
      about: 'the discount is what the coupon of the order gives, a percentage rounded down to a won (CPN-7)',
      looked,
      violations: sql`
        select * from (
          select o.id as "orderId", o.coupon_id as "couponId", o.discount_amount as "discountAmount",
            case when o.coupon_id is null then 0 when p.discount_type = 'AMOUNT' then p.discount_value
              else o.total_amount * p.discount_value / 100 end as "expected"
          from ${orders} o left join ${coupons} c on c.id = o.coupon_id
          left join ${couponPolicies} p on p.id = c.policy_id) discounted
        where discounted."discountAmount" is distinct from discounted."expected"`,
    },
    {
      rule: 'order-coupon',
      about: 'the coupon of an order is of its user, and had not expired when it was ordered (CPN-6, CPN-7)',
      looked: sql`select count(*) from ${orders} o where o.coupon_id is not null`,
      violations: sql`
        select o.id as "orderId", o.coupon_id as "couponId", o.user_id as "userId", c.user_id as "holder",
          o.created_at as "orderedAt", c.expires_at as "expiresAt"
        from ${orders} o join ${coupons} c on c.id = o.coupon_id
        where c.user_id <> o.user_id or c.expires_at <= o.created_at`,
    },
    {
      rule: 'order-payment',
      about: 'an order has one payment, of its final amount (ORD-3)',
      looked,
      violations: sql`
        select o.id as "orderId", o.final_amount as "finalAmount", coalesce(p.payments, 0) as "payments",
          p.amount as "amount"
        from ${orders} o
        left join (select p.order_id, count(*) as payments, sum(p.amount) as amount from ${payments} p group by 1) p
          on p.order_id = o.id
        where coalesce(p.payments, 0) <> 1 or p.amount <> o.final_amount`,
    },
    {
      rule: 'payment-status',
      about:
        'a payment is COMPLETED, FAILED or CANCELED where its order is PAID, FAILED or CANCELED (ORD-5, ORD-6)',
      looked: sql`select count(*) from ${payments}`,
      violations: sql`
        select p.id as "paymentId", o.id as "orderId", o.status as "order", p.status as "payment"
        from ${payments} p left join ${orders} o on o.id = p.order_id
        where p.status is distinct from case o.status when 'PAID' then 'COMPLETED' else o.status end`,
    },
    {
      rule: 'order-history-entries',
      about:
        'a PAID order has one USE entry of its final amount, a CANCELED one a REFUND too, a FAILED one none (ORD-3)',
      looked,
      violations: sql`
        with entries as (
          select e.order_id, array_agg(e.type || ' ' || e.amount || ' ' || e.user_id order by e.id) as entries
          from ${balanceEntries} e where e.order_id is not null group by 1),
        expected as (
          select o.id, o.status, case when o.status = 'FAILED' then null
            else array['USE ' || o.final_amount || ' ' || o.user_id] || case when o.status = 'CANCELED'
              then array['REFUND ' || o.final_amount || ' ' || o.user_id] else array[]::text[] end end as entries
          from ${orders} o)
        select coalesce(expected.id, entries.order_id) as "orderId", expected.status as "status",
          entries.entries as "entries", expected.entries as "expected"
        from expected full join entries on entries.order_id = expected.id
        where entries.entries is distinct from expected.entries`,
    },
    {
      rule: 'order-events',
      about:
        'a PAID order has its event, a CANCELED one both, that of the payment first, a FAILED one none (ORD-7)',
      looked,
      violations: sql`
        with told as (
          select e.order_id, array_agg(e.type order by e.position) as events, count(distinct e.type) as types
          from ${outboxEvents} e group by 1)
        select o.id as "orderId", o.status as "status", o.events as "events" from (
          select o.id, o.status, o.created_at, o.canceled_at, coalesce(told.events, array[]::text[]) as events,
            coalesce(told.types, 0) as types
          from ${orders} o left join told on told.order_id = o.id) o
        where (o.status <> 'FAILED' and o.created_at >= ${since} and not 'order.paid' = any(o.events))
          or (o.status = 'CANCELED' and o.canceled_at >= ${since} and not 'order.canceled' = any(o.events))
          or (o.status <> 'CANCELED' and 'order.canceled' = any(o.events))
          or (o.status = 'FAILED' and 'order.paid' = any(o.events))
          or o.events = array['order.canceled', 'order.paid']
          or cardinality(o.events) <> o.types`,
    },
    {
      rule: 'event-tells-order',
      about: 'an event tells its order as it was then: PAID when it was paid, CANCELED when canceled (ORD-7)',
      looked: sql`select count(*) from ${outboxEvents}`,
      // As text: whatever a payload holds, the comparison does not fail.
      violations: sql`
        select e.event_id as "eventId", e.order_id as "orderId", e.type as "type", left(e.payload::text, 500) as "payload"
        from ${outboxEvents} e join ${orders} o on o.id = e.order_id
        where (e.payload->>'id', e.payload->>'userId', e.payload->>'finalAmount', e.payload->>'status')
          is distinct from (o.id::text, o.user_id::text, o.final_amount::text,
            case e.type when 'order.paid' then 'PAID' else 'CANCELED' end)`,
    },
  ]
}
