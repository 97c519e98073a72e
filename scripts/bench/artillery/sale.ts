/** `npm run bench:artillery`: one flash sale by Artillery, whose users' word is then held against the service. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Verdict } from '../../../src/audit/verdict.ts'
import { makePrivateFolder } from '../../embedded/private-stores.ts'
import { exitCodeOf, UsageError } from '../../exit-code.ts'
import { listenForEnd } from '../../start/end.ts'
import { type Stack, type Stores, startStack, startStores } from '../stack.ts'

const HELP = `Usage: npm run bench:artillery

BASE_URL and ADMIN_TOKEN name a service that runs; without BASE_URL one is started, with its own stores. Artillery comes
through npx the first time, some 470 MB.
Exit code: 0 the service holds what the users were told, 1 it does not or a threshold was missed, 2 wrong usage.
`
/**
 * Not in the lock file: it brings 470 MB, with the SDKs of two clouds and the installer of a browser, for a
 * suite that only those who use Artillery run. Its install scripts do not run, as they download that browser.
 */
const ARTILLERY = 'artillery@2.0.34'
const COUPONS = 100
const UNITS = 50
/** As many as arrive in sale.yml, and some. */
const USERS = 1000
const AT_A_TIME = 50
/** Until Artillery has started, and its warm-up is over. */
const STARTING_MS = 4000
const WARM_UP_MS = 5000
const DAY_MS = 86_400_000

type Service = { baseUrl: string; adminToken: string }
type Told = { issued: number; soldOut: number; paid: number; tooLate: number; unexpected: number }

async function sale(service: Service, folder: string, signal: AbortSignal): Promise<number> {
  const { baseUrl } = service
  console.log('Artillery is fetched through npx if need be')
  await artillery(['version'], {}, signal, 'ignore')

  const firstUser = Math.floor(Date.now() / 1000) * 100_000
  await chargeAll(service, firstUser)
  const product = { name: 'Artillery cup', price: 50_000, stock: UNITS }
  const { id: productId } = await call<{ id: number }>(service, 'POST', '/v1/admin/products', product)
  const opensAt = Date.now() + STARTING_MS + WARM_UP_MS
  const { id: policyId } = await call<{ id: number }>(service, 'POST', '/v1/admin/coupon-policies', {
    name: 'Artillery coupon',
    discountType: 'AMOUNT',
    discountValue: 5000,
    totalQuantity: COUPONS,
    issueStartsAt: new Date(opensAt).toISOString(),
    issueEndsAt: new Date(opensAt + DAY_MS).toISOString(),
    validDays: 30,
  })
  await call(service, 'POST', '/v1/admin/cache/warm', { policyId })

  const report = join(folder, 'artillery.json')
  const script = join(import.meta.dirname, 'sale.yml')
  const env = {
    WORKERS: '1',
    BASE_URL: baseUrl,
    SALE: JSON.stringify({ firstUser, policyId, productId, opensAt }),
  }
  const code = await artillery(['run', '--output', report, script], env, signal, 'inherit')
  if (code !== 0) console.error(`bench:artillery: artillery ended with ${code}`)

  const told = readTold(await readFile(report, 'utf8'))
  const policy = await call<{ remainingQuantity: number }>(service, 'GET', `/v1/coupon-policies/${policyId}`)
  const { stock } = await call<{ stock: number }>(service, 'GET', `/v1/products/${productId}`)
  const verdict = await call<Verdict>(service, 'POST', '/v1/admin/audit', {})
  const broken = verdict.rules.filter(({ violated }) => violated > 0)
  const rows = [
    ['coupons issued', told.issued, COUPONS - policy.remainingQuantity],
    ['orders paid', told.paid, UNITS - stock],
    ['unexpected answers', told.unexpected, 0],
    ['rules broken in the audit', broken.length, 0],
  ] as const
  console.log(`\n${''.padEnd(28)}${'found'.padStart(8)}${'must be'.padStart(9)}`)
  for (const [what, found, must] of rows) {
    console.log(`${what.padEnd(28)}${String(found).padStart(8)}${String(must).padStart(9)}`)
  }
  console.log(`refused: ${told.soldOut} sold out, ${told.tooLate} too late`)
  for (const rule of broken) console.error(`audit: ${rule.rule}: ${JSON.stringify(rule.violations)}`)
  const isExact = rows.every(([, found, must]) => found === must) && told.issued > 0
  console.log(isExact ? 'the service holds what the users were told' : 'NOT what the users were told')
  return isExact && code === 0 ? 0 : 1
}

/** Runs Artillery to its end, with its telemetry off. Gives its exit code. */
async function artillery(
  args: string[],
  env: Record<string, string>,
  signal: AbortSignal,
  stdio: 'ignore' | 'inherit',
): Promise<number> {
  const child = spawn('npx', ['--yes', ARTILLERY, ...args], {
    env: { ...process.env, ...env, ARTILLERY_DISABLE_TELEMETRY: 'true', npm_config_ignore_scripts: 'true' },
    stdio: ['ignore', stdio, 'inherit'],
    signal,
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return code ?? 1
}

function readTold(report: string): Told {
  const { aggregate } = JSON.parse(report) as { aggregate: { counters: Record<string, number> } }
  const of = (name: keyof Told) => aggregate.counters[`told.${name}`] ?? 0
  return {
    issued: of('issued'),
    soldOut: of('soldOut'),
    paid: of('paid'),
    tooLate: of('tooLate'),
    unexpected: of('unexpected'),
  }
}

async function chargeAll(service: Service, firstUser: number): Promise<void> {
  const users = Array.from({ length: USERS }, (_, index) => firstUser + index).values()
  const one = async () => {
    for (const user of users)
      await call(service, 'POST', `/v1/users/${user}/balance/charge`, { amount: 100_000 })
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, one))
}

async function call<Answer>(
  { baseUrl, adminToken }: Service,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
): Promise<Answer> {
  const response = await fetch(baseUrl + path, {
    method,
    headers: {
      'content-type': 'application/json',
      ...(path.startsWith('/v1/admin/') && { authorization: `Bearer ${adminToken}` }),
    },
    body: body ? JSON.stringify(body) : null,
    signal: AbortSignal.timeout(120_000),
  })
  const text = await response.text()
  if (response.ok) return JSON.parse(text) as Answer
  throw new Error(`${path} answered ${response.status}: ${text.slice(0, 300)}`)
}

async function main(): Promise<number> {
  const { BASE_URL, ADMIN_TOKEN } = process.env
  if (process.argv.slice(2).some((arg) => arg === '--help' || arg === '-h')) {
    process.stdout.write(HELP)
    return 0
  }
  if (process.argv.length > 2) throw new UsageError('There are no options.')
  if (BASE_URL && !ADMIN_TOKEN) throw new UsageError('BASE_URL is set; set ADMIN_TOKEN too.')
  const { signal } = listenForEnd(process.env, console.log)
  const { folder, guardian } = await makePrivateFolder(console.log)
  let stores: Stores | undefined
  let stack: Stack | undefined
  try {
    if (BASE_URL && ADMIN_TOKEN) {
      return await sale({ baseUrl: BASE_URL, adminToken: ADMIN_TOKEN }, folder, signal)
    }
    console.log('BASE_URL is not set: starting Postgres, Redis and the service')
    stores = await startStores(console.log)
    stack = await startStack({ stores, logDir: folder, signal }, 0, {})
    return await sale({ baseUrl: stack.baseUrl, adminToken: stack.data?.adminToken ?? '' }, folder, signal)
  } finally {
    await stack?.stop()
    await stores?.remove()
    await rm(folder, { recursive: true, force: true })
    guardian.release()
  }
}

process.exit(await exitCodeOf('bench:artillery', HELP, main))
