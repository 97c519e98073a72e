import { type SQL, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { maxShown, type RuleVerdict, type Violation, verdictOf } from './verdict.ts'

/** A rule that Postgres alone can tell: two queries. */
export interface PostgresRule {
  rule: string
  about: string
  /** gives one number: the rows that the rule is about */
  looked: SQL
  /** gives a row for each violation */
  violations: SQL
}

/**
 * Holds all rules against one snapshot of Postgres: every write is one transaction, so a snapshot is consistent however
 * many are under way.
 */
export async function runPostgresRules(patientDb: Database, rules: PostgresRule[]): Promise<RuleVerdict[]> {
  return patientDb.transaction(
    async (tx) => {
      const verdicts: RuleVerdict[] = []
      for (const { rule, about, looked, violations } of rules) {
        const [row] = await tx.execute<{ looked: number; violated: number; sample: Violation[] | null }>(sql`
          with violation as materialized (${violations})
          select (${looked}) as looked, (select count(*) from violation) as violated,
            (select json_agg(sample) from (select * from violation limit ${maxShown}) sample) as sample`)
        verdicts.push(
          verdictOf(
            { rule, about },
            {
              looked: Number(row?.looked ?? 0),
              violated: Number(row?.violated ?? 0),
              violations: row?.sample ?? [],
            },
          ),
        )
      }
      return verdicts
    },
    { isolationLevel: 'repeatable read', accessMode: 'read only' },
  )
}
