import { sql } from 'drizzle-orm'
import { balanceEntries, balanceLimit, userBalances } from '../db/schema/index.ts'
import { bigints, statement, uuids, words } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'

interface BalanceRow {
  userId: number
  balance: number
  version: number
}

interface NewEntry {
  user_id: number
  type: 'CHARGE' | 'USE' | 'REFUND'
  amount: number
  balance_after: number
  order_id: string | null
  created_at: Date
}

const readBalances = statement<{ userIds: string }, BalanceRow>(sql`
  select ${userBalances.userId} as "userId", ${userBalances.balance} as "balance", ${userBalances.version} as "version"
  from ${userBalances}
  where ${userBalances.userId} = any(${sql.placeholder('userIds')}::text::bigint[])`)

/** Optimistic lock (BAL-6): a row whose version has moved on is not changed, and `require_rows` fails the batch. */
const changeBalances = statement<
  { userIds: string; balances: string; versions: string; expected: number },
  never
>(sql`
  with changed as (
    update ${userBalances} set balance = changed.balance, version = changed.version + 1
    from unnest(${sql.placeholder('userIds')}::text::bigint[], ${sql.placeholder('balances')}::text::bigint[],
        ${sql.placeholder('versions')}::text::int[]) as changed (user_id, balance, version)
    where ${userBalances.userId} = changed.user_id and ${userBalances.version} = changed.version
    returning 1)
  select require_rows((select count(*) from changed), ${sql.placeholder('expected')}::int)`)

const addBalances = statement<{ balances: string; expected: number }, never>(sql`
  with added as (
    insert into ${userBalances} (user_id, balance, version)
    select user_id, balance, 1
    from json_to_recordset(${sql.placeholder('balances')}::text::json) as added (user_id bigint, balance bigint)
    on conflict do nothing
    returning 1)
  select require_rows((select count(*) from added), ${sql.placeholder('expected')}::int)`)

/** In the order given, so that the ids of one user's entries follow the order of the changes. */
const insertEntries = statement<
  { userIds: string; types: string; amounts: string; balances: string; orderIds: string; times: string },
  never
>(sql`
  insert into ${balanceEntries} (user_id, type, amount, balance_after, order_id, created_at)
  select user_id, type, amount, balance_after, order_id, to_timestamp(created_at_ms / 1000)
  from unnest(${sql.placeholder('userIds')}::text::bigint[], ${sql.placeholder('types')}::text::text[],
      ${sql.placeholder('amounts')}::text::bigint[], ${sql.placeholder('balances')}::text::bigint[],
      ${sql.placeholder('orderIds')}::text::uuid[], ${sql.placeholder('times')}::text::double precision[])
    as entry (user_id, type, amount, balance_after, order_id, created_at_ms)`)

/**
 * The balances of a batch: what they were, and every change as if the members had come one after the other. Nothing is
 * written before `write`.
 */
export interface Ledger {
  balanceOf(userId: number): number
  /** Adds or takes `amount` won with an entry. False, and nothing noted, when the balance would leave its limits. */
  enter(change: {
    userId: number
    type: NewEntry['type']
    amount: number
    orderId: string | null
    at: Date
  }): boolean
  /** Sends the statements that make it so; the transaction fails (see `isLostRace`) when another was faster. */
  write(tx: Transaction): void
}

/** Reads the balances of users inside `tx`, without locking them. */
export async function openLedger(tx: Transaction, userIds: number[]): Promise<Ledger> {
  const rows = await tx.read(readBalances, { userIds: bigints(userIds) })
  return ledgerOf(rows)
}

/** Keeps a ledger over the rows that were read. */
export function ledgerOf(rows: BalanceRow[]): Ledger {
  const read = new Map(rows.map((row) => [row.userId, row]))
  const balances = new Map(rows.map((row) => [row.userId, row.balance]))
  const entries: NewEntry[] = []
  const balanceOf = (userId: number) => balances.get(userId) ?? 0

  return {
    balanceOf,
    enter({ userId, type, amount, orderId, at }) {
      const after = balanceOf(userId) + (type === 'USE' ? -amount : amount)
      if (after < 0 || after >= balanceLimit) return false
      balances.set(userId, after)
      entries.push({ user_id: userId, type, amount, balance_after: after, order_id: orderId, created_at: at })
      return true
    },
    write(tx) {
      if (entries.length === 0) return
      // Ascending, so that two batches that change the same users meet in the same order.
      const userIds = [...new Set(entries.map((entry) => entry.user_id))].sort((a, b) => a - b)
      const changes = userIds.map((userId) => ({
        user_id: userId,
        balance: balanceOf(userId),
        version: read.get(userId)?.version,
      }))
      const changed = changes.filter(({ version }) => version !== undefined)
      const added = changes.filter(({ version }) => version === undefined)
      if (changed.length > 0) {
        tx.write(changeBalances, {
          userIds: bigints(changed.map((change) => change.user_id)),
          balances: bigints(changed.map(({ balance }) => balance)),
          versions: bigints(changed.map(({ version }) => version as number)),
          expected: changed.length,
        })
      }
      if (added.length > 0) tx.write(addBalances, { balances: JSON.stringify(added), expected: added.length })
      tx.write(insertEntries, {
        userIds: bigints(entries.map((entry) => entry.user_id)),
        types: words(entries.map(({ type }) => type)),
        amounts: bigints(entries.map(({ amount }) => amount)),
        balances: bigints(entries.map((entry) => entry.balance_after)),
        orderIds: uuids(entries.map((entry) => entry.order_id)),
        times: bigints(entries.map((entry) => entry.created_at.getTime())),
      })
    },
  }
}
