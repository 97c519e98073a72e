import { and, desc, eq, lt } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { balanceEntries, userBalances } from '../db/schema/index.ts'

export interface BalanceEntry {
  id: number
  type: 'CHARGE' | 'USE' | 'REFUND'
  /** won */
  amount: number
  balanceAfter: number
  orderId: string | null
  createdAt: Date
}

/** The balance of a user, won; 0 before the first charge. */
export async function findBalance(db: Database, userId: number): Promise<number> {
  const [row] = await db
    .select({ balance: userBalances.balance })
    .from(userBalances)
    .where(eq(userBalances.userId, userId))
  return row?.balance ?? 0
}

/** The history of a user's balance, newest first, those before entry `beforeId`. */
export async function listEntries(
  db: Database,
  userId: number,
  beforeId: number | undefined,
  limit: number,
): Promise<BalanceEntry[]> {
  return db
    .select({
      id: balanceEntries.id,
      type: balanceEntries.type,
      amount: balanceEntries.amount,
      balanceAfter: balanceEntries.balanceAfter,
      orderId: balanceEntries.orderId,
      createdAt: balanceEntries.createdAt,
    })
    .from(balanceEntries)
    .where(
      and(
        eq(balanceEntries.userId, userId),
        beforeId === undefined ? undefined : lt(balanceEntries.id, beforeId),
      ),
    )
    .orderBy(desc(balanceEntries.id))
    .limit(limit)
}
