import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres, { type Options } from 'postgres'
import * as schema from './schema/index.ts'

export type Database = PostgresJsDatabase<typeof schema>

export interface DatabaseSettings {
  url: string
  /** connections */
  pool: number
  /** deadline of one statement, ms */
  timeoutMs: number
  applicationName: string
}

/**
 * What every connection of this program has in common: deadlines on the server's side, so that a dead client holds no
 * lock for long, and bigint as number (every bigint of the schema is a safe integer). The client does not ask for the
 * array types when it connects: a connection lost during that question rejects a promise that nobody holds, which ends
 * the process. So arrays go in as text, such as '{1,2}'::text::bigint[].
 */
export function connectionOptions(timeoutMs: number, applicationName: string) {
  return {
    connect_timeout: Math.ceil(timeoutMs / 1000),
    // The client's own goes up to 20 s, which would outlast a restart of Postgres by far.
    backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 1),
    fetch_types: false,
    types: {
      bigint: { to: 20, from: [20], parse: Number, serialize: String },
    },
    connection: {
      application_name: applicationName,
      statement_timeout: timeoutMs,
      lock_timeout: timeoutMs,
      idle_in_transaction_session_timeout: timeoutMs,
    },
    onnotice: () => undefined,
  } satisfies Options<Record<string, postgres.PostgresType>>
}

/** Opens the pool for reads and single statements. Transactions have their own: see transactions.ts. */
export function openDatabase(settings: DatabaseSettings): { db: Database; close(): Promise<void> } {
  const client = postgres(settings.url, {
    max: settings.pool,
    ...connectionOptions(settings.timeoutMs, settings.applicationName),
  })
  // Drizzle replaces the date and JSON parsers of the client it is given; this client serves nobody else.
  return { db: drizzle(client, { schema }), close: () => client.end({ timeout: settings.timeoutMs / 1000 }) }
}
