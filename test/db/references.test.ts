import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Harness, startHarness } from '../setup/harness.ts'

let harness: Harness
/** what a sale wrote */
let orderId: string
let productId: number
const userId = 1
beforeAll(async () => {
  harness = await startHarness()
  productId = await harness.product({ stock: 10 })
  await harness.charge(userId, 10_000)
  orderId = (await harness.order(userId, productId)).body.id
})
afterAll(() => harness.stop())

const nobody = '01890000-0000-7000-8000-000000000000'

/** Runs a statement that must fail, and gives how. */
async function failing(run: (sql: Harness['sql']) => Promise<unknown>) {
  const error = await run(harness.sql).then(
    () => undefined,
    (reason: postgres.PostgresError) => reason,
  )
  return { code: error?.code, table: error?.table_name, constraint: error?.constraint_name }
}

const count = async (table: string) =>
  Number((await harness.sql.unsafe(`select count(*) from ${table}`))[0]?.count)

describe('what the rows of an order and a coupon refer to', () => {
  // Two rows a statement, and only the second refers to nothing.
  it.each<[string, string, (sql: Harness['sql']) => Promise<unknown>]>([
    [
      'payments',
      'payments_order',
      async (sql) => {
        const id = '01890000-0000-7000-8000-000000000001'
        await sql.begin(async (tx) => {
          await tx`insert into orders (id, user_id, status, total_amount, discount_amount, final_amount, created_at)
            values (${id}, 1, 'FAILED', 1, 0, 1, now())`
          await tx`insert into payments (id, order_id, status, amount, created_at)
            select gen_random_uuid(), order_id, 'FAILED', 1, now() from unnest(${[id, nobody]}::uuid[]) as order_id`
        })
      },
    ],
    [
      'outbox_events',
      'outbox_events_order',
      (sql) => sql`insert into outbox_events (event_id, type, order_id, occurred_at, payload)
        select gen_random_uuid(), 'order.canceled', order_id, now(), '{}'
        from unnest(${[orderId, nobody]}::uuid[]) as order_id`,
    ],
    [
      'order_items',
      'order_items_order',
      async (sql) => {
        const other = await harness.product()
        await sql`insert into order_items (order_id, product_id, line, name, quantity, unit_price, amount)
          select order_id, ${other}, 1, 'Hairpin', 1, 1000, 1000 from unnest(${[orderId, nobody]}::uuid[]) as order_id`
      },
    ],
    [
      'order_items',
      'order_items_product',
      async (sql) => {
        const other = await harness.product()
        await sql`insert into order_items (order_id, product_id, line, name, quantity, unit_price, amount)
          select ${orderId}, product_id, 1, 'Hairpin', 1, 1000, 1000
          from unnest(${[other, 987_654_321]}::bigint[]) as product_id`
      },
    ],
    [
      'balance_entries',
      'balance_entries_user',
      (sql) => sql`insert into balance_entries (user_id, type, amount, balance_after, created_at)
        select user_id, 'CHARGE', 1, 1, now() from unnest(${[userId, 987_654_321]}::bigint[]) as user_id`,
    ],
    [
      'coupons',
      'coupons_policy',
      async (sql) => {
        const policyId = await harness.policy()
        await sql`insert into coupons (id, policy_id, user_id, rank, issued_at, expires_at)
          select gen_random_uuid(), policy_id, 1, 1, now(), now() + interval '1 day'
          from unnest(${[policyId, 987_654_321]}::bigint[]) as policy_id`
      },
    ],
  ])(
    '[ORD-4, CPN-3] %s: one row without it (%s) fails the statement, with all its rows',
    async (table, constraint, run) => {
      const before = await count(table)
      expect(await failing(run)).toEqual({ code: '23503', table, constraint })
      expect(await count(table)).toBe(before)
    },
  )

  it.each([
    ['orders', 'delete from orders'],
    ['orders', 'truncate orders cascade'],
    ['orders', 'update orders set id = gen_random_uuid()'],
    ['products', 'delete from products where id = 987654321'],
    ['products', 'truncate products cascade'],
    ['products', 'update products set id = default'],
    ['user_balances', 'delete from user_balances'],
    ['user_balances', 'truncate user_balances'],
    ['user_balances', 'update user_balances set user_id = user_id + 1'],
    ['payments', `update payments set order_id = '${nobody}'`],
    ['outbox_events', `update outbox_events set order_id = '${nobody}'`],
    ['order_items', `update order_items set order_id = '${nobody}'`],
    ['order_items', 'update order_items set product_id = 987654321'],
    ['balance_entries', 'update balance_entries set user_id = 987654321'],
    ['coupons', 'update coupons set policy_id = 987654321'],
    ['coupon_policies', 'delete from coupon_policies'],
    ['coupon_policies', 'truncate coupon_policies'],
    ['coupon_policies', 'update coupon_policies set id = default'],
  ])('[ORD-4, CPN-3] of %s, "%s" is refused', async (table, statement) => {
    const expected = { code: '23001', table, constraint: `${table}_stay` }
    expect(await failing((sql) => sql.unsafe(statement))).toEqual(expected)
  })
})
