import { sql } from 'drizzle-orm'
import type { Database } from './client.ts'
import { abandonedEntries, idempotencyKeys } from './schema/index.ts'

const hourMs = 3_600_000
/** Kept answers: clients are promised 24 hours (ALL-2, docs/operations.md). */
const answersKeptMs = 48 * hourMs
/** A fence has to outlive the slowest process that may still run into it, which is a matter of seconds. */
const fencesKeptMs = 24 * hourMs
const rowsPerBatch = 5000
/** Batches of one run; the rest comes with the next run. */
const maxBatches = 1000

/** Deletes what has served its time, in batches of one short statement each. Gives how many rows it deleted. */
export async function prune(db: Database, now: Date, signal?: AbortSignal): Promise<number> {
  const before = (ms: number) => new Date(now.getTime() - ms).toISOString()
  return (
    (await inBatches(signal, () =>
      db.execute(sql`
        delete from ${idempotencyKeys} where ctid in (
          select ctid from ${idempotencyKeys} where ${idempotencyKeys.createdAt} < ${before(answersKeptMs)}::timestamptz
          limit ${rowsPerBatch})
        returning 1`),
    )) +
    (await inBatches(signal, () =>
      db.execute(sql`
        delete from ${abandonedEntries} where ctid in (
          select ctid from ${abandonedEntries}
          where ${abandonedEntries.abandonedAt} < ${before(fencesKeptMs)}::timestamptz
          limit ${rowsPerBatch})
        returning 1`),
    ))
  )
}

async function inBatches(
  signal: AbortSignal | undefined,
  deleteBatch: () => Promise<readonly unknown[]>,
): Promise<number> {
  let deleted = 0
  for (let batch = 0; batch < maxBatches && !signal?.aborted; batch++) {
    const rows = await deleteBatch()
    deleted += rows.length
    if (rows.length < rowsPerBatch) break
  }
  return deleted
}
