import type { ReservedSql } from 'postgres'
import { type Harness, until } from './harness.ts'

/**
 * Takes a lock in a transaction, so that others wait for it. Gives the function that lets go: with nothing done, or with
 * what is done by the one who holds it.
 */
export async function holding(
  { sql }: Harness,
  lock: (connection: ReservedSql) => Promise<unknown>,
): Promise<(done?: (connection: ReservedSql) => Promise<unknown>) => Promise<void>> {
  const connection = await sql.reserve()
  await connection`begin`
  await lock(connection)
  return async (done) => {
    await done?.(connection)
    await (done ? connection`commit` : connection`rollback`)
    connection.release()
  }
}

/** Waits until a statement of the service waits for a lock: in a group commit, or in its general pool. */
export async function untilLockIsAwaited({ sql }: Harness, by: 'commit' | 'pool'): Promise<void> {
  const name = by === 'commit' ? 'seonchak commit' : 'seonchak'
  await until('a statement that waits for the lock', async () => {
    const waiting = await sql`
      select 1 from pg_stat_activity
      where datname = current_database() and application_name = ${name} and wait_event_type = 'Lock'`
    return waiting.length > 0
  })
}
