import { expect } from 'vitest'
import { seoulDay } from '../../src/product/product.ts'
import { keys } from '../../src/redis/keys.ts'
import { allKeys } from './all-keys.ts'
import type { Harness } from './harness.ts'

/**
 * Holds both stores against every rule of money, stock and orders, once nothing is under way. It reads the stores
 * alone, not what the service says of them.
 */
export async function expectConsistent(harness: Harness): Promise<void> {
  const { sql } = harness
  const count = async (query: PromiseLike<readonly Record<string, unknown>[]>) => (await query)[0]?.n
  const none = async (what: string, query: PromiseLike<readonly unknown[]>) =>
    expect(await query, what).toEqual([])

  await none(
    'no negative balance, none at the limit',
    sql`select * from user_balances where balance < 0 or balance >= 10000000`,
  )
  await none(
    'the entries of a user add up to the balance (BAL-5)',
    sql`select b.user_id, b.balance, sum(case e.type when 'USE' then -e.amount else e.amount end) as entries
      from user_balances b left join balance_entries e using (user_id) group by b.user_id
      having b.balance <> coalesce(sum(case e.type when 'USE' then -e.amount else e.amount end), 0)`,
  )
  await none(
    'each entry tells the balance after it',
    sql`select * from (select id, balance_after, sum(case type when 'USE' then -amount else amount end)
      over (partition by user_id order by id) as running from balance_entries) e where balance_after <> running`,
  )
  await none(
    'stock is what came in less what live orders hold (PRD-4)',
    sql`select p.id, p.stock from products p
      where p.stock < 0 or p.stock <> p.initial_stock
        + coalesce((select sum(quantity) from restocks r where r.product_id = p.id), 0)
        - coalesce((select sum(i.quantity) from order_items i join orders o on o.id = i.order_id
            where i.product_id = p.id and o.status = 'PAID'), 0)`,
  )
  await none(
    'an order is the sum of its lines less the discount, and its payment and entries agree',
    sql`select o.id from orders o join payments p on p.order_id = o.id
      where o.total_amount <> (select sum(amount) from order_items i where i.order_id = o.id)
        or p.amount <> o.final_amount
        or p.status <> case o.status when 'PAID' then 'COMPLETED' when 'FAILED' then 'FAILED' else 'CANCELED' end
        or (select coalesce(sum(amount), 0) from balance_entries e where e.order_id = o.id and e.type = 'USE')
          <> case o.status when 'FAILED' then 0 else o.final_amount end
        or (select coalesce(sum(amount), 0) from balance_entries e where e.order_id = o.id and e.type = 'REFUND')
          <> case o.status when 'CANCELED' then o.final_amount else 0 end`,
  )
  expect(await count(sql`select count(*)::int as n from orders`)).toBe(
    await count(sql`select count(*)::int as n from payments`),
  )
  await none(
    'a USED coupon has one live order, and a live order with a coupon has used it',
    sql`select c.id from coupons c where c.status = 'USED'
        and (select count(*) from orders o where o.coupon_id = c.id and o.status = 'PAID' and o.id = c.order_id) <> 1
      union all select o.coupon_id from orders o join coupons c on c.id = o.coupon_id
        where o.status = 'PAID' and (c.status <> 'USED' or c.order_id <> o.id)`,
  )
  await none(
    'every paid or cancelled order has its events, a failed one none (ORD-7)',
    sql`select o.id from orders o
      where array(select e.type from outbox_events e where e.order_id = o.id order by e.position) <> case o.status
        when 'PAID' then array['order.paid'] when 'CANCELED' then array['order.paid', 'order.canceled']
        else array[]::text[] end`,
  )
  await expectStockAgrees(harness)
  await expectSalesCounted(harness)
}

/** Redis has nothing pending, and the stock of Postgres. What is not loaded is loaded first. */
async function expectStockAgrees(harness: Harness): Promise<void> {
  const { sql, redis } = harness
  const shards = Array.from({ length: harness.env.STOCK_SHARDS }, (_, shard) => shard)
  const products = await sql`select id, stock from products order by id`
  let shown: { id: number; stock: number }[] = []
  for (let cursor = ''; ; ) {
    const page = await harness.get(`/v1/products?limit=100${cursor && `&cursor=${cursor}`}`)
    expect(page.status).toBe(200)
    shown = shown.concat(
      page.body.items.map(({ id, stock }: { id: number; stock: number }) => ({ id, stock })),
    )
    cursor = page.body.nextCursor
    if (!cursor) break
  }
  expect(shown).toEqual(products.map(({ id, stock }) => ({ id, stock })))
  for (const shard of shards) expect(await redis.hlen(keys.stockPending(shard))).toBe(0)
}

/** The sorted sets of the days count the live orders of the days. */
async function expectSalesCounted({ sql, redis, env, get }: Harness): Promise<void> {
  // Days that Redis has lost are counted when they are asked for.
  expect((await get('/v1/products/popular')).status).toBe(200)
  const sold = await sql`select o.created_at, i.product_id, i.quantity from orders o
    join order_items i on i.order_id = o.id where o.status = 'PAID'`
  const expected: Record<string, Record<string, number>> = {}
  for (const { created_at, product_id, quantity } of sold) {
    const key = keys.stockSales(Number(product_id) % env.STOCK_SHARDS, seoulDay(created_at))
    expected[key] ??= {}
    const day = expected[key]
    day[product_id] = (day[product_id] ?? 0) + quantity
  }
  const counted: typeof expected = {}
  for (const key of await allKeys(redis, keys.stockSales(0, '*').replace('{0}', '{*}'))) {
    const flat = await redis.zrange(key, '0', '-1', 'WITHSCORES')
    counted[key] = Object.fromEntries(
      flat.flatMap((member, index) => (index % 2 === 0 ? [[member, Number(flat[index + 1])]] : [])),
    )
  }
  expect(counted).toEqual(expected)
}
