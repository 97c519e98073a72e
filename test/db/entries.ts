import { sql } from 'drizzle-orm'
import postgres, { type Sql } from 'postgres'
import { inject } from 'vitest'
import { statement } from '../../src/db/statement.ts'
import { createDatabase } from '../setup/harness.ts'

/** Inserts one row. */
export const insertEntry = statement<{ id: number; body: string }, never>(sql`
  insert into entries (id, body) values (${sql.placeholder('id')}::int, ${sql.placeholder('body')}::text)`)

/** Inserts one row by another statement, so one that a connection has to have described again. */
export const insertEntryToo = statement<{ id: number; body: string }, never>(sql`
  insert into entries (id, body) select ${sql.placeholder('id')}::int, ${sql.placeholder('body')}::text`)

/** Reads one row and locks it until the transaction ends. */
export const lockEntry = statement<{ id: number }, { id: number }>(
  sql`select id from entries where id = ${sql.placeholder('id')}::int for update`,
)

/** Where a transaction is, as Postgres sees it. */
export const whereAmI = statement<Record<string, never>, { backend: number; transaction: string }>(
  sql`select pg_backend_pid() as backend, txid_current()::text as transaction`,
)

/**
 * Makes a database with the table `entries`. Each row has the backend and the transaction that wrote it, and the order
 * in which rows were written.
 */
export async function openEntries() {
  const database = await createDatabase(inject('databaseUrl'))
  const admin: Sql = postgres(database.url, { max: 4, onnotice: () => undefined })
  await admin`create table entries (
    id int primary key,
    body text not null,
    backend int not null default pg_backend_pid(),
    transaction text not null default txid_current()::text,
    place int generated always as identity
  )`
  return {
    url: database.url,
    admin,
    /** ids of the committed rows, in the order in which they were written */
    ids: async (): Promise<number[]> =>
      (await admin`select id from entries order by place`).map((row) => row.id),
    empty: () => admin`truncate entries`,
    async drop(): Promise<void> {
      await admin.end()
      await database.drop()
    },
  }
}
