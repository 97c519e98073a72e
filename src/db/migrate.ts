import { join } from 'node:path'
import { drizzle } from 'drizzle-orm/postgres-js'
import { migrate } from 'drizzle-orm/postgres-js/migrator'
import postgres from 'postgres'

/** Any number will do, as long as every process of this program uses the same. */
const lockId = 5_031_126

/**
 * Brings the database to this version's schema. Processes that start together take turns by an advisory lock.
 * @throws what Postgres or the connection answered, after `timeoutMs` at the latest for the connection
 */
export async function migrateDatabase(url: string, timeoutMs: number): Promise<void> {
  const client = postgres(url, {
    max: 1,
    connect_timeout: Math.ceil(timeoutMs / 1000),
    connection: { application_name: 'seonchak migrate' },
    onnotice: () => undefined,
  })
  try {
    await client`select pg_advisory_lock(${lockId})`
    await migrate(drizzle(client), { migrationsFolder: join(import.meta.dirname, 'migrations') })
  } finally {
    // The session ends here, and its lock with it.
    await client.end({ timeout: 5 })
  }
}
