import { sql } from 'drizzle-orm'
import { balanceEntries, balanceLimit, userBalances } from '../db/schema/index.ts'
import type { PostgresRule } from './postgres.ts'

const balances = sql`select count(*) from ${userBalances}`
const signed = sql`case e.type when 'USE' then -e.amount else e.amount end`

/** Balances and their history in Postgres. */
export const moneyRules: PostgresRule[] = [
  {
    rule: 'balance-is-history',
    about: 'the entries of a user add up to the balance (BAL-5)',
    looked: balances,
    violations: sql`
      with history as (select e.user_id, sum(${signed}) as total from ${balanceEntries} e group by 1)
      select coalesce(b.user_id, history.user_id) as "userId", b.balance as "balance",
        coalesce(history.total, 0) as "history"
      from ${userBalances} b full join history on history.user_id = b.user_id
      where coalesce(b.balance, 0) <> coalesce(history.total, 0)`,
  },
  {
    rule: 'balance-within-limits',
    about: `a balance is from 0 to below ${balanceLimit} won (BAL-4)`,
    looked: balances,
    violations: sql`
      select b.user_id as "userId", b.balance as "balance" from ${userBalances} b
      where b.balance < 0 or b.balance >= ${balanceLimit}`,
  },
  {
    rule: 'history-runs-on',
    about: 'each entry tells the balance after it, which the next one goes on from (BAL-5)',
    looked: sql`select count(*) from ${balanceEntries}`,
    violations: sql`
      select * from (
        select e.id as "entryId", e.user_id as "userId", e.balance_after as "balanceAfter",
          coalesce(lag(e.balance_after) over (partition by e.user_id order by e.id), 0) + ${signed} as "expected"
        from ${balanceEntries} e) entry
      where entry."balanceAfter" <> entry."expected"`,
  },
]
