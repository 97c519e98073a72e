import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectExact } from '../setup/coupon-invariants.ts'
import { adminToken, type Harness, startHarness, until } from '../setup/harness.ts'
import { type Operation, operationsOf } from '../setup/operations.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { callsOf, type FuzzCall, type Pool } from '../setup/request-fuzz.ts'
import { inParallel } from '../setup/server.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`fuzz seed: TEST_SEED=${seed}`)

const leastRequests = 10_000
const atOnce = 32
/** Routes that read or load everything at each call get a share of the others' calls. */
const heavy = /^\/v1\/admin\/(audit|cache)/
const heavyCalls = 20

let harness: Harness
let operations: Operation[]
let validators: Map<string, ValidateFunction>
let pool: Pool

beforeAll(async () => {
  harness = await startHarness()
  const document = (await harness.get('/openapi.json')).body
  operations = operationsOf(document)
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  ajvFormats.default(ajv)
  ajv.addSchema(document, 'document')
  const within = (...parts: string[]) =>
    `document#/${parts.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`
  validators = new Map(
    operations.flatMap(({ method, path, responses }) =>
      Object.entries(responses).flatMap(([status, { content = {} }]) =>
        Object.keys(content).map((type): [string, ValidateFunction] => [
          `${method} ${path} ${status} ${type}`,
          ajv.compile({
            $ref: within('paths', path, method.toLowerCase(), 'responses', status, 'content', type, 'schema'),
          }),
        ]),
      ),
    ),
  )
  const userId = [1, 2, 3, 4, 5]
  const productId = await Promise.all([5, 50, 5000].map((stock) => harness.product({ price: 1000, stock })))
  const policyId = await Promise.all([3, 1000].map((totalQuantity) => harness.policy({ totalQuantity })))
  policyId.push(
    await harness.policy({ issueStartsAt: '2099-01-01T00:00:00Z', issueEndsAt: '2099-02-01T00:00:00Z' }),
  )
  const couponId: string[] = []
  const orderId: string[] = []
  for (const user of userId) {
    await harness.charge(user, 3_000_000)
    couponId.push((await harness.issue(policyId[1] as number, user)).body.id)
    orderId.push((await harness.order(user, productId[2] as number)).body.id)
  }
  pool = {
    userId,
    productId,
    policyId,
    couponId,
    orderId,
    date: ['latest', '2026-01-31', '2026-02-30', '2020-02-29', '9999-12-31'],
    amount: [1000, 10_000, 20_000, 100_000, 9_999_999],
    quantity: [1, 2, 3, 1000],
    totalQuantity: [1, 100],
    discountValue: [1, 10, 100, 5000],
    name: ['Sale', '반짝 세일', ' x ', '\u0000'],
    'idempotency-key': ['a', 'b', 'c', 'd'],
    limit: [1, 20, 100],
    cursor: ['W10', 'WzFd', 'bm9uZQ'],
  }
})
afterAll(() => harness.stop())

/** What a call did: the status, for the tally; faults are thrown. New ids go into the pool. */
async function send({ operation, path, body, headers }: FuzzCall): Promise<number> {
  const { method } = operation
  const response = await harness.app.request(path, {
    method,
    headers,
    ...(body === undefined ? {} : { body }),
  })
  const text = await response.text()
  const what = `${method} ${path} ${JSON.stringify(headers)} ${body} → ${response.status} ${text}`
  if (response.status >= 500) throw new Error(what)
  const type = response.headers.get('content-type')
  const validate = validators.get(`${method} ${operation.path} ${response.status} ${type}`)
  if (!validate) {
    // A strange value in the path can name another route, or none.
    const isElsewhere = [404, 405].includes(response.status) && /NOT_FOUND|METHOD_NOT_ALLOWED/.test(text)
    if (isElsewhere && !/^[\w/-]+$/.test(path.split('?')[0] ?? '')) return response.status
    throw new Error(`not in the document: ${what}`)
  }
  const document = JSON.parse(text) as { id?: unknown }
  if (!validate(document)) throw new Error(`${JSON.stringify(validate.errors)}: ${what}`)
  if (response.headers.get('x-request-id') === null) throw new Error(`no request id: ${what}`)
  if (response.status === 201) learn(operation.path, document.id)
  return response.status
}

function learn(path: string, id: unknown): void {
  const name = path === '/v1/orders' ? 'orderId' : path.endsWith('/issue') ? 'couponId' : undefined
  if (name) pool[name]?.push(id)
}

describe('every route of the document', () => {
  it(`[ALL-3, ALL-4] stands ${leastRequests} calls: no 5xx, all as documented, nothing broken`, async () => {
    const share = Math.ceil(leastRequests / operations.filter(({ path }) => !heavy.test(path)).length)
    const rounds = 4
    const tally: Record<string, Record<number, number>> = {}
    let requests = 0
    // Each round draws from a pool that has grown by what the rounds before have made.
    for (let round = 0; round < rounds; round++) {
      const calls = operations.flatMap((operation, index) => {
        const tokens =
          operation.audience === 'admin'
            ? [`Bearer ${adminToken}`, 'Bearer x']
            : ['Bearer ignored', 'Bearer x']
        const times = Math.ceil((heavy.test(operation.path) ? heavyCalls : share) / rounds)
        return fc.sample(callsOf(operation, pool, tokens), {
          seed: seed + 100 * round + index,
          numRuns: times,
        })
      })
      const mixed =
        fc.sample(fc.shuffledSubarray(calls, { minLength: calls.length }), { seed, numRuns: 1 })[0] ?? []
      requests += mixed.length
      await inParallel(mixed, atOnce, async (call) => {
        const status = await send(call)
        const name = `${call.operation.method} ${call.operation.path}`
        tally[name] ??= {}
        tally[name][status] = (tally[name][status] ?? 0) + 1
      })
    }
    console.log(`fuzz: ${requests} requests\n${JSON.stringify(tally, null, 1)}`)
    expect(requests).toBeGreaterThanOrEqual(leastRequests)
    for (const { method, path } of operations) {
      const statuses = Object.keys(tally[`${method} ${path}`] ?? {})
      // The run is worth something only where it gets through to the route, and is refused by it.
      expect(
        statuses.some((status) => status.startsWith('2')),
        `${method} ${path} never worked`,
      ).toBe(true)
    }

    await until('nothing under way', async () =>
      [harness.coupons.commit, harness.balances.commit, ...harness.orders.commits].every(
        (commit) => commit.stats().taken === 0,
      ),
    )
    await expectConsistent(harness)
    for (const { id, issued } of await harness.sql`select id, issued_quantity as issued from coupon_policies p
      where exists (select from coupons c where c.policy_id = p.id)`) {
      await expectExact(harness, id, issued)
    }
  }, 120_000)
})
