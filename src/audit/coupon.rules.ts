import { sql } from 'drizzle-orm'
import { couponPolicies, coupons, orders } from '../db/schema/index.ts'
import type { PostgresRule } from './postgres.ts'

const policies = sql`select count(*) from ${couponPolicies}`
const issued = sql`select count(*) from ${coupons}`

/** Policies and coupons in Postgres. */
export const couponRules: PostgresRule[] = [
  {
    rule: 'coupons-counted',
    about: 'the issued quantity of a policy is the number of its coupons (CPN-3)',
    looked: policies,
    violations: sql`
      select p.id as "policyId", p.issued_quantity as "issuedQuantity", coalesce(c.coupons, 0) as "coupons"
      from ${couponPolicies} p
      left join (select c.policy_id, count(*) as coupons from ${coupons} c group by 1) c on c.policy_id = p.id
      where p.issued_quantity <> coalesce(c.coupons, 0)`,
  },
  {
    rule: 'coupons-within-total',
    about: 'never more coupons are issued than the total of the policy (CPN-3)',
    looked: policies,
    violations: sql`
      select p.id as "policyId", p.total_quantity as "totalQuantity", p.issued_quantity as "issuedQuantity",
        coalesce(c.coupons, 0) as "coupons"
      from ${couponPolicies} p
      left join (select c.policy_id, count(*) as coupons from ${coupons} c group by 1) c on c.policy_id = p.id
      where greatest(p.issued_quantity, coalesce(c.coupons, 0)) > p.total_quantity`,
  },
  {
    rule: 'coupons-one-per-user',
    about: 'a user has one coupon of a policy (CPN-3)',
    looked: issued,
    violations: sql`
      select c.policy_id as "policyId", c.user_id as "userId", count(*) as "coupons"
      from ${coupons} c group by c.policy_id, c.user_id having count(*) > 1`,
  },
  {
    rule: 'coupons-ranks-gapless',
    about: 'the ranks of a policy go from 1 to the number of its coupons without gaps (CPN-3)',
    looked: issued,
    violations: sql`
      select c.policy_id as "policyId", count(*) as "coupons", min(c.rank) as "first", max(c.rank) as "last",
        count(distinct c.rank) as "ranks"
      from ${coupons} c group by c.policy_id
      having min(c.rank) <> 1 or max(c.rank) <> count(*) or count(distinct c.rank) <> count(*)`,
  },
  {
    rule: 'coupon-used-by-one-order',
    about: 'a coupon is USED where exactly one live order has it, and by that order (CPN-5, CPN-7)',
    looked: issued,
    violations: sql`
      with live as (
        select o.coupon_id, count(*) as orders, min(o.id::text)::uuid as order_id
        from ${orders} o where o.status = 'PAID' and o.coupon_id is not null group by 1)
      select coalesce(c.id, live.coupon_id) as "couponId", c.status as "status", c.order_id as "orderId",
        coalesce(live.orders, 0) as "liveOrders"
      from (select * from ${coupons} where status = 'USED' or order_id is not null) c
      full join live on live.coupon_id = c.id
      where c.id is null or live.coupon_id is null or live.orders <> 1 or c.status <> 'USED'
        or c.order_id is distinct from live.order_id`,
  },
]
