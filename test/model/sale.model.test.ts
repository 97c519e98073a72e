import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Answer, type Harness, startHarness } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { pastTriggers } from '../setup/past-triggers.ts'
import { type Call, type Command, command, newWorld, note, prelude, send, users } from './commands.ts'
import { createOracle } from './oracle.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`sale model seed: TEST_SEED=${seed}`)

/** The runs take seconds; a counterexample is made smaller for as long as this, ms, and then told as it is. */
const shrinkingMs = 240_000
const parameters = { seed, plugins: [fc.interruptAfterTimeLimit(shrinkingMs, { failOnInterrupt: true })] }

const clock = { now: Date.now() }
let harness: Harness

/** What a sale writes. Identities go on, as the process remembers what it has read. */
const tables = [
  ...['outbox_events', 'payments', 'order_items', 'orders', 'restocks', 'coupons', 'coupon_policies'],
  ...['balance_entries', 'user_balances', 'products', 'idempotency_keys', 'abandoned_entries'],
]

/** Empties both stores, and sets the clock back to what it is. */
async function reset(): Promise<void> {
  // Past the triggers that let no order, product or balance be deleted.
  await pastTriggers(harness.sql, tables.map((table) => `delete from ${table}`).join('; '))
  await harness.redis.flushdb()
  clock.now = Date.now()
}

/** Makes the calls of a list one after the other, and holds each answer against the oracle, and the stores at the end. */
async function runOneByOne(commands: Command[]): Promise<void> {
  await reset()
  const world = newWorld()
  const oracle = createOracle(clock, harness.env.STOCK_SHARDS)
  for (const each of commands) {
    const call = each.toCall(world)
    // Each has a time of its own, so that newest first is one order.
    clock.now += 1
    if (call.kind === 'wait') {
      clock.now += call.ms
      continue
    }
    const verdict = oracle.judge(call)
    const answer = await send(harness, call)
    const given = { status: answer.status, body: answer.body, replayed: isReplayed(answer) }
    const { status, body, replayed = false } = verdict
    expect(given, `${call.kind}: ${JSON.stringify(call)}`).toEqual({ status, body, replayed })
    verdict.effect?.(answer.body)
    note(world, call, answer)
  }
  for (const [path, body] of oracle.everything(users)) {
    expect((await harness.get(path)).body, path).toEqual(body)
  }
  await expectConsistent(harness)
  for (const [policyId, issued] of oracle.issued()) await expectExact(harness, policyId, issued)
}

const isReplayed = ({ headers }: Answer) => headers.get('Idempotent-Replayed') === 'true'

/** What each call may be answered when others run at the same time. */
const keyRefusals = ['IDEMPOTENCY_KEY_REUSED', 'IDEMPOTENCY_IN_PROGRESS']
const possible: Record<Exclude<Call['kind'], 'wait'>, string[]> = {
  charge: ['200', 'CHARGE_BELOW_MINIMUM', 'BALANCE_LIMIT_EXCEEDED', 'BALANCE_CONFLICT', ...keyRefusals],
  'create product': ['201'],
  restock: ['200', 'PRODUCT_NOT_FOUND'],
  'create policy': ['201'],
  issue: ['201', 'COUPON_POLICY_NOT_FOUND', 'COUPON_ALREADY_ISSUED', 'COUPON_SOLD_OUT'],
  withdraw: ['200', 'COUPON_NOT_FOUND', 'COUPON_NOT_AVAILABLE', 'COUPON_EXPIRED'],
  order: [
    ...['201', 'INSUFFICIENT_BALANCE', 'PRODUCT_NOT_FOUND', 'STOCK_INSUFFICIENT', 'COUPON_NOT_FOUND'],
    ...['COUPON_NOT_AVAILABLE', 'COUPON_EXPIRED', 'FINAL_AMOUNT_NOT_POSITIVE', 'BALANCE_CONFLICT'],
    ...keyRefusals,
  ],
  cancel: [
    ...['200', 'ORDER_NOT_FOUND', 'ORDER_NOT_CANCELABLE', 'BALANCE_LIMIT_EXCEEDED', 'BALANCE_CONFLICT'],
    ...keyRefusals,
  ],
}

interface Answered {
  call: Call
  answer: Answer
}

/** Makes the calls of each list at once, and holds the stores against what was answered. */
async function runAtOnce(batches: Command[][]): Promise<void> {
  await reset()
  const world = newWorld()
  const all: Answered[] = []
  for (const batch of batches) {
    const calls = batch.map((each) => each.toCall(world))
    for (const call of calls) if (call.kind === 'wait') clock.now += call.ms
    const answered = await Promise.all(
      calls.flatMap((call) =>
        call.kind === 'wait' ? [] : [send(harness, call).then((answer): Answered => ({ call, answer }))],
      ),
    )
    for (const { call, answer } of answered) note(world, call, answer)
    all.push(...answered)
  }
  for (const { call, answer } of all) {
    const code = answer.body.code ?? String(answer.status)
    expect(possible[call.kind as keyof typeof possible], JSON.stringify(call)).toContain(code)
  }
  await expectConsistent(harness)
  await expectAnswersTrue(all)
}

/** Postgres has the effect of every answer that told of one, once, and no other effect (ALL-1, ALL-2, ALL-3). */
async function expectAnswersTrue(all: Answered[]): Promise<void> {
  const { sql } = harness
  const effects = (kind: Call['kind'], status: number) =>
    all.filter(({ call, answer }) => call.kind === kind && answer.status === status && !isReplayed(answer))
  const rows = async (query: PromiseLike<readonly Record<string, unknown>[]>) => [...(await query)]
  const sorted = (list: unknown[]) => list.map((item) => JSON.stringify(item)).sort()
  const ids = (answered: Answered[], member = 'id') =>
    answered.map(({ answer }) => ({ id: answer.body[member] }))

  const charges = effects('charge', 200).map(({ answer, call }) => ({
    user_id: answer.body.userId,
    amount: 'amount' in call ? call.amount : 0,
    balance_after: answer.body.balance,
  }))
  expect(
    sorted(await rows(sql`select user_id, amount, balance_after from balance_entries where type = 'CHARGE'`)),
  ).toEqual(sorted(charges))
  expect(sorted(await rows(sql`select id from orders where status <> 'FAILED'`))).toEqual(
    sorted(ids(effects('order', 201))),
  )
  expect(sorted(await rows(sql`select id from orders where status = 'FAILED'`))).toEqual(
    sorted(ids(effects('order', 402), 'orderId')),
  )
  expect(sorted(await rows(sql`select id from orders where status = 'CANCELED'`))).toEqual(
    sorted(ids(effects('cancel', 200))),
  )
  expect(sorted(await rows(sql`select id from coupons`))).toEqual(sorted(ids(effects('issue', 201))))
  expect(sorted(await rows(sql`select id from coupons where status = 'CANCELED'`))).toEqual(
    sorted(ids(effects('withdraw', 200))),
  )
  expect((await rows(sql`select id from restocks`)).length).toBe(effects('restock', 200).length)
  for (const { answer } of effects('create policy', 201)) {
    const policyId = answer.body.id
    const issued = effects('issue', 201).filter((each) => each.answer.body.policyId === policyId)
    await expectExact(harness, policyId, issued.length)
  }
  // What was answered again is what was answered first.
  const texts = new Set(
    all.filter(({ answer }) => !isReplayed(answer)).map(({ answer }) => JSON.stringify(answer.body)),
  )
  for (const { answer } of all) if (isReplayed(answer)) expect(texts).toContain(JSON.stringify(answer.body))
}

describe.each([
  ['one shard', { STOCK_SHARDS: '1' }, 24],
  ['three shards', { STOCK_SHARDS: '3' }, 12],
] as const)('one call after the other, %s', (_, env, numRuns) => {
  beforeAll(async () => {
    harness = await startHarness({ env, ambient: { now: () => clock.now } })
  })
  afterAll(() => harness.stop())

  it(
    '[BAL-1, BAL-4, PRD-2, CPN-3, CPN-5, CPN-6, CPN-8, ORD-1, ORD-5, ORD-6, ALL-2, ALL-3] answers as the oracle does',
    () =>
      fc.assert(
        fc.asyncProperty(
          prelude,
          fc.noBias(fc.array(command, { maxLength: 60, size: 'max' })),
          (before, commands) => runOneByOne([...before, ...commands]),
        ),
        { ...parameters, numRuns },
      ),
    2 * shrinkingMs,
  )
})

describe.each([
  ['group commit', {}],
  ['lock per request', { COMMIT_MAX_BATCH: '1', COMMIT_MAX_IN_FLIGHT: '4' }],
  ['three shards', { STOCK_SHARDS: '3' }],
] as const)('calls at once, %s', (_, env) => {
  beforeAll(async () => {
    harness = await startHarness({ env, ambient: { now: () => clock.now } })
  })
  afterAll(() => harness.stop())

  it(
    '[BAL-5, BAL-6, PRD-4, CPN-3, CPN-7, ORD-2, ORD-4, ORD-6, ALL-1, ALL-2] both stores hold what was answered',
    () =>
      fc.assert(
        fc.asyncProperty(
          prelude,
          fc.array(fc.array(command, { maxLength: 25, size: 'max' }), { maxLength: 4, size: 'max' }),
          (before, batches) => runAtOnce([...before.map((each) => [each]), ...batches]),
        ),
        { ...parameters, numRuns: 10 },
      ),
    2 * shrinkingMs,
  )
})
