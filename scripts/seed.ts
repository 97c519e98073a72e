import postgres from 'postgres'
import { migrateDatabase } from '../src/db/migrate.ts'
import { plainMessage, SetupError } from './embedded/setup-error.ts'

const TIMEOUT_MS = 10_000
const MINUTE_MS = 60_000
const YEAR_MS = 365 * 24 * 60 * MINUTE_MS
/** Two that seed at once take turns; any number will do that nothing else locks. */
const LOCK_ID = 5_031_127

const demoProducts = [
  { name: 'Celadon cup', price: 32_000, stock: 500 },
  { name: 'Hanji notebook', price: 9_500, stock: 1000 },
  { name: 'Brass spoon and chopsticks', price: 48_000, stock: 50 },
]

const demoPolicy = {
  name: 'Flash coupon: 5,000 won off',
  discountType: 'AMOUNT',
  discountValue: 5000,
  totalQuantity: 100,
  validDays: 30,
}

type Demo = { policyId: number; userId: number }

/**
 * Brings the database to this version's schema, and makes sure that there are products, and a coupon policy open at `now`,
 * to try the service with: the newest open one, with units left where there is such a one, or a new one. It needs no
 * service, so that they are there before one is ready. Safe to run again.
 * @returns the policy, and a user who has no coupon of it yet
 * @throws SetupError START_FAILED when the database does not answer as it should
 */
export async function seedDemo(databaseUrl: string, now: Date): Promise<Demo> {
  const client = postgres(databaseUrl, {
    max: 1,
    connect_timeout: TIMEOUT_MS / 1000,
    connection: { application_name: 'seonchak seed', statement_timeout: TIMEOUT_MS },
    onnotice: () => undefined,
  })
  try {
    await migrateDatabase(databaseUrl, TIMEOUT_MS)
    return await client.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(${LOCK_ID})`
      await tx`
        insert into products (name, price, stock, initial_stock, created_at)
        select name, price, stock, stock, ${now} from json_to_recordset(${JSON.stringify(demoProducts)}::text::json)
          as demo (name text, price bigint, stock int)
        where not exists (select 1 from products)`
      return (await findOpenPolicy(tx, now)) ?? { policyId: await insertPolicy(tx, now), userId: 1 }
    })
  } catch (error) {
    throw new SetupError('START_FAILED', `The database cannot be made ready: ${plainMessage(error)}`)
  } finally {
    await client.end({ timeout: 1 })
  }
}

async function findOpenPolicy(tx: postgres.TransactionSql, now: Date): Promise<Demo | undefined> {
  const [open] = await tx<{ id: string }[]>`
    select id from coupon_policies where issue_starts_at <= ${now} and issue_ends_at > ${now}
    order by issued_quantity < total_quantity desc, id desc limit 1`
  if (!open) return undefined
  const [free] = await tx<{ id: string }[]>`
    select coalesce(max(user_id), 0) + 1 as id from coupons where policy_id = ${open.id}`
  return { policyId: Number(open.id), userId: Number(free?.id ?? 1) }
}

async function insertPolicy(tx: postgres.TransactionSql, now: Date): Promise<number> {
  const { name, discountType, discountValue, totalQuantity, validDays } = demoPolicy
  const [policy] = await tx<{ id: string }[]>`
    insert into coupon_policies
      (name, discount_type, discount_value, total_quantity, issue_starts_at, issue_ends_at, valid_days, created_at)
    values (${name}, ${discountType}, ${discountValue}, ${totalQuantity}, ${new Date(now.getTime() - MINUTE_MS)},
      ${new Date(now.getTime() + YEAR_MS)}, ${validDays}, ${now})
    returning id`
  return Number(policy?.id)
}

/** `node scripts/seed.ts`, with DATABASE_URL in the environment. */
async function main(): Promise<void> {
  const { DATABASE_URL } = process.env
  if (!DATABASE_URL) throw new SetupError('WRONG_SETTING', 'Set DATABASE_URL.')
  const { policyId } = await seedDemo(DATABASE_URL, new Date())
  console.log(`coupon policy ${policyId} is open`)
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    console.error(plainMessage(error))
    process.exitCode = 1
  })
}
