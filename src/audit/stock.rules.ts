import { sql } from 'drizzle-orm'
import { orderItems, orders, products, restocks } from '../db/schema/index.ts'
import type { PostgresRule } from './postgres.ts'

const looked = sql`select count(*) from ${products}`

/** Stock in Postgres. */
export const stockRules: PostgresRule[] = [
  {
    rule: 'stock-conserved',
    about: 'stock is what came in, less what live orders hold: sold is never more than there was (PRD-4)',
    looked,
    violations: sql`
      with came as (select r.product_id, sum(r.quantity) as units from ${restocks} r group by 1),
        went as (
          select i.product_id, sum(i.quantity) as units
          from ${orderItems} i join ${orders} o on o.id = i.order_id where o.status = 'PAID' group by 1)
      select p.id as "productId", p.stock as "stock", p.initial_stock as "initial",
        coalesce(came.units, 0) as "restocked", coalesce(went.units, 0) as "sold"
      from ${products} p left join came on came.product_id = p.id left join went on went.product_id = p.id
      where p.stock <> p.initial_stock + coalesce(came.units, 0) - coalesce(went.units, 0)`,
  },
  {
    rule: 'stock-not-negative',
    about: 'stock is never below zero (PRD-4)',
    looked,
    violations: sql`select p.id as "productId", p.stock as "stock" from ${products} p where p.stock < 0`,
  },
]
