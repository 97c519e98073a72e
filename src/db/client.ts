import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type postgres from 'postgres'
import type { Options } from 'postgres'
import { createDriver, drizzleTypes } from './driver.ts'
import { type Lanes, openLanes } from './lanes.ts'
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
 * How much of a deadline Postgres may spend on a statement, and on one of the locks that it waits for. So it says that it
 * gave up before the client does, who would not know what became of the COMMIT that is on its way.
 */
const serverShare = { statement: 0.8, lock: 0.6 }

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
      statement_timeout: Math.ceil(timeoutMs * serverShare.statement),
      lock_timeout: Math.ceil(timeoutMs * serverShare.lock),
      idle_in_transaction_session_timeout: timeoutMs,
    },
    onnotice: () => undefined,
  } satisfies Options<Record<string, postgres.PostgresType>>
}

/** Statements that may wait for a connection. */
const maxWaitingForPool = 10_000

export interface OpenDatabase {
  db: Database
  /** The same connections, whose transactions may run statements for `statementMs` each; see `db` for all else. */
  patient(statementMs: number): Database
  /** Statements and transactions waiting for a connection, and connections in use. */
  stats: Lanes['stats']
  close(): Promise<void>
}

/**
 * Opens the connections for reads and single statements. Transactions that write money, stock or coupons have their own:
 * see transactions.ts. A statement ends within twice `timeoutMs`, once for the connection and once for the statement,
 * also where Postgres has fallen silent; it waits for a free connection for `timeoutMs` at most.
 */
export function openDatabase(settings: DatabaseSettings): OpenDatabase {
  const { url, pool, timeoutMs, applicationName } = settings
  const common = connectionOptions(timeoutMs, applicationName)
  const lanes = openLanes({
    url,
    lanes: pool,
    maxWaiting: maxWaitingForPool,
    maxWaitMs: timeoutMs,
    connection: { ...common, types: { ...common.types, ...drizzleTypes } },
  })
  const patient = (statementMs?: number) => drizzle(createDriver(lanes, timeoutMs, statementMs), { schema })
  return { db: patient(), patient, stats: lanes.stats, close: lanes.close }
}
