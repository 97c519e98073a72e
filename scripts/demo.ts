/** `npm run demo`: one flash sale from an empty machine to the verdict of the audit, live on the terminal. */
import { rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs, styleText } from 'node:util'
import { type Stack, type Stores, startStack, startStores } from './bench/stack.ts'
import { gatherCrowd, type Sale, type Told } from './demo/crowd.ts'
import { type Scene, showScene } from './demo/display.ts'
import { auditLine, type Held, type Judgement, judge } from './demo/verdict.ts'
import { makePrivateFolder } from './embedded/private-stores.ts'
import { plainMessage, throwIfAborted } from './embedded/setup-error.ts'
import { exitCodeOf, UsageError } from './exit-code.ts'
import { listenForEnd } from './start/end.ts'

const HELP = `Usage: npm run demo [-- options]

  --users n     users who press at the same time, 1 to 100,000 (default 10,000)
  --coupons n   coupons that there are (default 100)
  --units n     units of the one product (default 50)
  --help        print this

Starts a Postgres, a Redis and the service, plays one flash sale over HTTP, compares what the users were told with what
the service holds, and removes everything.
Exit code: 0 all is exact, 1 it is not, or the demo could not run, 2 wrong usage.
`
const PRICE_WON = 50_000
const DISCOUNT_WON = 5000
const CHARGE_WON = 100_000
const COUNTDOWN_MS = 3000
const DAY_MS = 86_400_000

type Size = { users: number; coupons: number; units: number }

function readArguments(args: string[]): Size & { help: boolean } {
  try {
    const { values } = parseArgs({
      args,
      options: {
        users: { type: 'string', default: '10000' },
        coupons: { type: 'string', default: '100' },
        units: { type: 'string', default: '50' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    const number = (name: 'users' | 'coupons' | 'units') => {
      const value = Number(values[name])
      if (Number.isInteger(value) && value >= 1 && value <= 100_000) return value
      throw new UsageError(`--${name} must be a whole number from 1 to 100000, not "${values[name]}".`)
    }
    return { users: number('users'), coupons: number('coupons'), units: number('units'), help: values.help }
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(plainMessage(error))
  }
}

/** Plays the sale, shows it, and gives the exit code. Everything that it starts is gone when it resolves or throws. */
async function demo(size: Size): Promise<number> {
  const scene: Scene = { ...size, stage: 'starting', step: 'starting Postgres and Redis', told: undefined }
  const display = showScene(scene, process.stdout)
  const { signal } = listenForEnd(process.env, display.say)
  const { folder, guardian } = await makePrivateFolder(display.say)
  let stores: Stores | undefined
  let stack: Stack | undefined
  let judgement: Judgement | undefined
  try {
    stores = await startStores(display.say)
    throwIfAborted(signal)
    scene.step = `${stores.postgres.version} and ${stores.redis.version} run; starting the service`
    stack = await startStack({ stores, logDir: folder, signal }, 0, {})
    judgement = await play(size, stack, scene, signal)
  } finally {
    display.stop()
    await stack?.stop()
    await stores?.remove()
    await rm(folder, { recursive: true, force: true })
    guardian.release()
  }
  process.stdout.write(`${report(judgement)}\n`)
  return judgement.isExact ? 0 : 1
}

async function play(
  size: Size,
  { baseUrl, data }: Stack,
  scene: Scene,
  signal: AbortSignal,
): Promise<Judgement> {
  if (!data) throw new Error('the service has data')
  const { adminToken, warm, audit } = data
  const create = async (what: string, body: object) => {
    const { id } = await call<{ id: number }>(`${baseUrl}/v1/admin/${what}`, signal, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${adminToken}` },
      body: JSON.stringify(body),
    })
    return id
  }
  scene.stage = 'preparing'
  scene.step = 'the shop puts up one product'
  const productId = await create('products', { name: 'Celadon cup', price: PRICE_WON, stock: size.units })

  const crowd = gatherCrowd(baseUrl, signal)
  try {
    scene.told = crowd.told
    scene.stage = 'charging'
    scene.step = `${size.users.toLocaleString('en')} users charge their balance`
    await crowd.charge({ users: size.users, policyId: 0, productId, chargeWon: CHARGE_WON })

    const opensAt = Date.now() + COUNTDOWN_MS
    const policyId = await create('coupon-policies', {
      name: 'Flash coupon',
      discountType: 'AMOUNT',
      discountValue: DISCOUNT_WON,
      totalQuantity: size.coupons,
      issueStartsAt: new Date(opensAt).toISOString(),
      issueEndsAt: new Date(opensAt + DAY_MS).toISOString(),
      validDays: 30,
    })
    await warm()
    const sale: Sale = { users: size.users, policyId, productId, chargeWon: CHARGE_WON }
    scene.stage = 'waiting'
    await countDown(opensAt, scene, signal)
    scene.stage = 'selling'
    scene.step = 'the doors are open: everybody wants a coupon and a unit'
    const startedAt = performance.now()
    await crowd.rush(sale)
    const seconds = (performance.now() - startedAt) / 1000

    scene.stage = 'judging'
    scene.step = 'the audit looks at every row and key'
    const [policy, product, rules] = await Promise.all([
      call<{ remainingQuantity: number }>(`${baseUrl}/v1/coupon-policies/${policyId}`, signal),
      call<{ stock: number }>(`${baseUrl}/v1/products/${productId}`, signal),
      audit(),
    ])
    const held: Held = { remainingCoupons: policy.remainingQuantity, stock: product.stock, audit: rules }
    scene.stage = 'over'
    scene.step = `${timesOf(crowd.told, seconds)}; ${auditLine(rules)}`
    return judge(size, crowd.told, held)
  } finally {
    await crowd.leave()
  }
}

function timesOf({ latenciesMs, retries }: Told, seconds: number): string {
  const sorted = latenciesMs.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] ?? 0)
  const again = retries > 0 ? `, ${retries} sent again` : ''
  return `the sale took ${seconds.toFixed(1)} s, half of the answers ${at(0.5)} ms, 99 % ${at(0.99)} ms${again}`
}

async function countDown(opensAt: number, scene: Scene, signal: AbortSignal): Promise<void> {
  for (let left = opensAt - Date.now(); left > 0; left = opensAt - Date.now()) {
    scene.step = process.stdout.isTTY
      ? `the doors open in ${(left / 1000).toFixed(1)} s`
      : 'the users wait for the doors to open'
    await delay(Math.min(left, 50), undefined, { signal })
  }
}

async function call<Answer>(url: string, signal: AbortSignal, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, {
    ...init,
    signal: AbortSignal.any([signal, AbortSignal.timeout(30_000)]),
  })
  const text = await response.text()
  if (response.ok) return JSON.parse(text) as Answer
  throw new Error(`${new URL(url).pathname} answered ${response.status}: ${text.slice(0, 300)}`)
}

function report({ lines, isExact, unexpected }: Judgement): string {
  const rows = lines.map(({ what, expected, found }) => {
    const isRight = expected === found
    const mark = isRight ? styleText('green', '✓') : styleText('red', '✗')
    const text = `${mark} ${what.padEnd(28)} ${found.toLocaleString('en').padStart(7)}`
    return isRight ? text : `${text}   must be ${expected.toLocaleString('en')}`
  })
  const others = [...unexpected].map(([answer, times]) => `  unexpected: ${answer}, ${times} times`)
  const verdict = isExact
    ? styleText('green', 'exact: every number is what it must be')
    : styleText('red', 'NOT exact')
  return [...rows, ...others, '', verdict].join('\n')
}

process.exit(
  await exitCodeOf('demo', HELP, async () => {
    const { help, ...size } = readArguments(process.argv.slice(2))
    if (!help) return demo(size)
    process.stdout.write(HELP)
    return 0
  }),
)
