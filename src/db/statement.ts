import { fillPlaceholders, type SQL } from 'drizzle-orm'
import { PgDialect } from 'drizzle-orm/pg-core'

/**
 * A statement of a hot path. It is written as a Drizzle template over the schema's tables and columns, and compiled
 * once: building it per call cost more Node time than the statement itself.
 */
export interface Statement<Params extends Record<string, unknown>, Row> {
  text: string
  bind(params: Params): unknown[]
  /** carries the row type only */
  readonly row?: Row
}

const dialect = new PgDialect()

/**
 * Compiles a template whose parameters are `sql.placeholder(name)`. Lists go in as one JSON text and come apart with
 * `json_to_recordset`, so that N members are one parameter and one statement.
 */
export function statement<Params extends Record<string, unknown>, Row>(
  template: SQL,
): Statement<Params, Row> {
  const { sql: text, params } = dialect.sqlToQuery(template)
  return { text, bind: (values) => fillPlaceholders(params, values) }
}

/** A list of integers as the text of a Postgres array, for `…::text::bigint[]`, or of another type of numbers. */
export function bigints(values: number[]): string {
  return `{${values.join()}}`
}

/** A list of UUIDs as the text of a Postgres array, for `…::text::uuid[]`. */
export function uuids(values: (string | null)[]): string {
  return `{${values.map((value) => value ?? 'null').join()}}`
}

/** A list of words of ours (a status, a type), which need no quotes, as the text of an array, for `…::text::text[]`. */
export function words(values: string[]): string {
  return `{${values.join()}}`
}
