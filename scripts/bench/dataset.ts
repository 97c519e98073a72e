import { setTimeout as delay } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Sql } from 'postgres'

/** Below the limit of a balance, and enough for thousands of orders. */
export const BALANCE_WON = 9_900_000
export const PRICE_WON = 1000
const STOCK = 100_000_000
const REWRITE_MS = 60_000
const POLL_MS = 50

/**
 * Writes a policy that is open now, with `issued` coupons of the users 1 to `issued`, ranked in that order.
 * @param options.isOver instead, it ended so long ago that Redis does not know it, and its coupons, which are still
 *   good, have the ids that `couponIdOf` gives
 * @returns the policy's id
 */
export async function addPolicy(
  sql: Sql,
  { total, issued = 0, isOver = false }: { total: number; issued?: number; isOver?: boolean },
): Promise<number> {
  const [startedDaysAgo, endsInDays] = isOver ? [20, -10] : [1, 1]
  const [policy] = await sql<{ id: string }[]>`
    insert into coupon_policies (name, discount_type, discount_value, total_quantity, issued_quantity,
      issue_starts_at, issue_ends_at, valid_days, created_at)
    values ('Bench', 'AMOUNT', 500, ${total}, ${issued}, now() - interval '1 day' * ${startedDaysAgo},
      now() + interval '1 day' * ${endsInDays}, 30, now() - interval '1 day' * ${startedDaysAgo})
    returning id`
  const id = Number(policy?.id)
  const rising = sql`(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7' ||
    lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(n::text), 1, 15))::uuid`
  const computed = sql`('00000000-0000-7000-8' || lpad(to_hex(${id}::int), 3, '0') || '-' || lpad(to_hex(n), 12, '0'))::uuid`
  await sql`
    insert into coupons (id, policy_id, user_id, rank, status, issued_at, expires_at)
    select ${isOver ? computed : rising}, ${id}, n, n, 'AVAILABLE', issued_at, issued_at + interval '30 days'
    from generate_series(1, ${issued}::int) n, (select now() - interval '1 day' * ${startedDaysAgo} as issued_at) t`
  return id
}

/**
 * Writes products with more stock than a run can sell.
 * @returns the id of the first; the others follow without gaps
 */
export async function addProducts(sql: Sql, products: number): Promise<number> {
  const [row] = await sql<{ first: string }[]>`
    with made as (
      insert into products (name, price, stock, initial_stock, created_at)
      select 'Product ' || n, ${PRICE_WON}, ${STOCK}, ${STOCK}, now() from generate_series(1, ${products}::int) n
      returning id)
    select min(id) as first from made`
  return Number(row?.first)
}

/** Writes the balances of the users 1 to `users` with the charge that they come from. */
export async function addBalances(sql: Sql, users: number): Promise<void> {
  await sql`
    with made as (
      insert into user_balances (user_id, balance, version)
      select n, ${BALANCE_WON}, 1 from generate_series(1, ${users}::int) n returning user_id)
    insert into balance_entries (user_id, type, amount, balance_after, created_at)
    select user_id, 'CHARGE', ${BALANCE_WON}, ${BALANCE_WON}, now() from made`
}

/**
 * Has the set-up's own work done before the measurement: statistics and a checkpoint in Postgres, as they would come
 * after a while in service.
 */
export async function settlePostgres(sql: Sql): Promise<void> {
  await sql.unsafe('vacuum analyze coupon_policies, coupons, products, user_balances, balance_entries')
  await sql.unsafe('checkpoint')
}

/**
 * Has Redis rewrite its append-only file, and waits for it: after a large set-up it would come to that in the middle of a
 * measurement, with three times the CPU for a request.
 */
export async function settleRedis(redis: Redis): Promise<void> {
  const end = performance.now() + REWRITE_MS
  const isRewriting = async () =>
    /^aof_rewrite_(in_progress|scheduled):1/m.test(await redis.info('persistence'))
  const rewritten = async () => {
    while (await isRewriting()) {
      if (performance.now() > end) throw new Error('Redis does not come to the end of rewriting its file')
      await delay(POLL_MS)
    }
  }
  await rewritten()
  await redis.bgrewriteaof()
  await rewritten()
}

/** Rows that requests of a run have committed so far: coupons issued and orders paid. */
export async function countCommitted(sql: Sql): Promise<number> {
  const [row] = await sql<{ rows: string }[]>`
    select (select count(*) from coupons) + (select count(*) from orders where status = 'PAID') as rows`
  return Number(row?.rows)
}
