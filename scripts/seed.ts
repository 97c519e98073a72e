import postgres from 'postgres'
import { plainMessage, SetupError } from './embedded/setup-error.ts'

const TIMEOUT_MS = 10_000
const MINUTE_MS = 60_000
const YEAR_MS = 365 * 24 * 60 * MINUTE_MS

const demoProducts = [
  { name: 'Celadon cup', price: 32_000, stock: 500 },
  { name: 'Hanji notebook', price: 9_500, stock: 1000 },
  { name: 'Brass spoon and chopsticks', price: 48_000, stock: 50 },
]

export type SeedOptions = {
  /** of the running service, without a slash at the end */
  baseUrl: string
  adminToken: string
  databaseUrl: string
  signal?: AbortSignal | undefined
}

/**
 * Makes sure that there are products, and a coupon policy open now, to try the service with: the newest open one, with
 * units left where there is such a one, or a new one made over HTTP. Safe to run again.
 * @returns the policy, and a user who has no coupon of it yet
 * @throws SetupError START_FAILED when the database or the service does not answer as it should
 */
export async function seedDemo(options: SeedOptions): Promise<{ policyId: number; userId: number }> {
  try {
    if (!(await hasProducts(options.databaseUrl))) {
      for (const product of demoProducts) await create(options, 'products', product)
    }
    return (await findOpenPolicy(options.databaseUrl)) ?? { policyId: await createPolicy(options), userId: 1 }
  } catch (error) {
    throw new SetupError('START_FAILED', `There is no demo data: ${plainMessage(error)}`)
  }
}

function connect(databaseUrl: string) {
  return postgres(databaseUrl, {
    max: 1,
    connect_timeout: TIMEOUT_MS / 1000,
    connection: { statement_timeout: TIMEOUT_MS },
    onnotice: () => undefined,
  })
}

async function hasProducts(databaseUrl: string): Promise<boolean> {
  const sql = connect(databaseUrl)
  try {
    return (await sql`select 1 from products limit 1`).length > 0
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function findOpenPolicy(
  databaseUrl: string,
): Promise<{ policyId: number; userId: number } | undefined> {
  const sql = connect(databaseUrl)
  try {
    const [open] = await sql<{ id: string }[]>`
      select id from coupon_policies where issue_starts_at <= now() and issue_ends_at > now()
      order by issued_quantity < total_quantity desc, id desc limit 1`
    if (!open) return undefined
    const [free] = await sql<{ id: string }[]>`
      select coalesce(max(user_id), 0) + 1 as id from coupons where policy_id = ${open.id}`
    return { policyId: Number(open.id), userId: Number(free?.id ?? 1) }
  } finally {
    await sql.end({ timeout: 1 })
  }
}

function createPolicy(options: SeedOptions): Promise<number> {
  const now = Date.now()
  return create(options, 'coupon-policies', {
    name: 'Flash coupon: 5,000 won off',
    discountType: 'AMOUNT',
    discountValue: 5000,
    totalQuantity: 100,
    issueStartsAt: new Date(now - MINUTE_MS).toISOString(),
    issueEndsAt: new Date(now + YEAR_MS).toISOString(),
    validDays: 30,
  })
}

/** Creates something over the admin API. Gives its id. */
async function create(
  { baseUrl, adminToken, signal }: SeedOptions,
  what: 'products' | 'coupon-policies',
  body: object,
): Promise<number> {
  const limit = AbortSignal.timeout(TIMEOUT_MS)
  const response = await fetch(`${baseUrl}/v1/admin/${what}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${adminToken}` },
    body: JSON.stringify(body),
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  })
  const text = await response.text()
  if (response.status === 201) return (JSON.parse(text) as { id: number }).id
  throw new Error(`the service answered ${response.status} to one of the ${what}: ${text.slice(0, 300)}`)
}

/** `node scripts/seed.ts`, with BASE_URL, ADMIN_TOKEN and DATABASE_URL in the environment. */
async function main(): Promise<void> {
  const { BASE_URL = 'http://127.0.0.1:3000', ADMIN_TOKEN, DATABASE_URL } = process.env
  if (!ADMIN_TOKEN || !DATABASE_URL)
    throw new SetupError('WRONG_SETTING', 'Set ADMIN_TOKEN and DATABASE_URL (and BASE_URL).')
  const { policyId } = await seedDemo({
    baseUrl: BASE_URL,
    adminToken: ADMIN_TOKEN,
    databaseUrl: DATABASE_URL,
  })
  console.log(`coupon policy ${policyId} is open`)
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    console.error(plainMessage(error))
    process.exitCode = 1
  })
}
