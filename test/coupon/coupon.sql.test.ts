import { randomUUIDv7 } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { addPolicy } from '../../scripts/bench/dataset.ts'
import { countIssued, findHolders } from '../../src/coupon/coupon.sql.ts'
import type { Database } from '../../src/db/client.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { pastTriggers } from '../setup/past-triggers.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
  // As in the first seconds of a sale: what Postgres plans then, it plans without statistics.
  await harness.sql`alter table coupons set (autovacuum_enabled = false)`
})
// Past the triggers that let no order be deleted: orders may refer to coupons.
beforeEach(async () => {
  await pastTriggers(harness.sql, 'truncate coupons cascade')
})
afterAll(() => harness.stop())

/** Rows of coupons that this connection has read, by scans and by looks into an index. */
async function rowsRead(tx: Pick<Database, 'execute'>): Promise<{ seq: number; idx: number }> {
  const [row] = await tx.execute<{ seq: number; idx: number }>(
    "select seq_tup_read as seq, idx_tup_fetch as idx from pg_stat_xact_user_tables where relname = 'coupons'",
  )
  return { seq: row?.seq ?? -1, idx: row?.idx ?? -1 }
}

describe('the holders of a policy among some users', () => {
  it('[CPN-3] are told, and who holds none is not', async () => {
    const policyId = await addPolicy(harness.sql, { total: 10, issued: 5 })
    const rows =
      await harness.sql`select user_id, id from coupons where policy_id = ${policyId} and rank in (2, 4)`
    const held = await findHolders(harness.deps.db, policyId, [4, 2, 999])
    expect(held).toEqual(new Map(rows.map(({ user_id, id }) => [user_id, id])))
    expect(await findHolders(harness.deps.db, policyId, [])).toEqual(new Map())
  })

  // Without statistics one policy seemed to be half a percent of the coupons: all of its coupons were read for a page of
  // users, and the list of users was parsed for each, for seconds.
  it.each([1_000, 10_000, 50_000])(
    '[CPN-3] are looked up one by one, and not among all, after %i were issued',
    async (issued) => {
      const policyId = await addPolicy(harness.sql, { total: issued, issued })
      const userIds = Array.from({ length: 500 }, (_, index) => 2 * index + 1)
      const { held, before, after } = await harness.deps.db.transaction(async (tx) => {
        const before = await rowsRead(tx)
        const held = await findHolders(tx as unknown as Database, policyId, userIds)
        return { held, before, after: await rowsRead(tx) }
      })
      expect(held.size).toBe(500)
      expect(after).toEqual({ seq: before.seq, idx: before.idx + 500 })
    },
  )
})

describe('what is issued of a policy, and what of some coupons is', () => {
  it('[CPN-3, ALL-4] is counted for more coupons than a statement takes parameters', async () => {
    const policyId = await addPolicy(harness.sql, { total: 10, issued: 5 })
    const { db } = harness.deps
    expect(await countIssued(db, policyId, [])).toEqual({ issuedQuantity: 5, committed: 0 })
    const rows = await harness.sql<{ id: string }[]>`select id from coupons where rank in (2, 4)`
    const pending = Array.from({ length: 70_000 }, () => randomUUIDv7())
    const counted = await countIssued(db, policyId, [...pending, ...rows.map(({ id }) => id)])
    expect(counted).toEqual({ issuedQuantity: 5, committed: 2 })
  })

  it('[CPN-3] is looked up one by one', async () => {
    const policyId = await addPolicy(harness.sql, { total: 10_000, issued: 10_000 })
    const rows = await harness.sql<{ id: string }[]>`select id from coupons where rank % 20 = 0`
    const ids = rows.map(({ id }) => id)
    await harness.deps.db.transaction(async (tx) => {
      const before = await rowsRead(tx)
      expect(await countIssued(tx as unknown as Database, policyId, ids)).toMatchObject({ committed: 500 })
      expect(await rowsRead(tx)).toMatchObject({ seq: before.seq })
    })
  })
})
