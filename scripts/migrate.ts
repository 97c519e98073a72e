/** `npm run migrate`: brings the database at DATABASE_URL to this version's schema. */
import { migrateDatabase } from '../src/db/migrate.ts'

const url = process.env.DATABASE_URL
if (!url) {
  console.error('DATABASE_URL is not set')
  process.exit(1)
}
try {
  await migrateDatabase(url, 10_000)
  console.log('The database has the schema of this version.')
} catch (error) {
  console.error(`The migration failed: ${error instanceof Error ? error.message : error}`)
  process.exit(1)
}
