import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { parseExposition } from '../ops/exposition.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, until } from '../setup/harness.ts'
import { createKeepAliveClient, type KeptAnswer, NoAnswer } from '../setup/keep-alive.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { inParallel, type ServerProcess, startServer } from '../setup/server.ts'

const callers = 8
/** Between two calls of a caller, ms: the processes that start meanwhile want the machine too. */
const betweenCallsMs = 10
/** Processes of Node that start one after the other, on a machine that may be slow. */
const restartedWithinMs = 150_000
const testTimeoutMs = 180_000

vi.setConfig({ testTimeout: testTimeoutMs, hookTimeout: 120_000 })

let harness: Harness
let servers: ServerProcess[] = []
beforeAll(async () => {
  harness = await startHarness()
})
afterEach(async () => {
  await Promise.all(servers.map((server) => server.kill('SIGKILL')))
  servers = []
})
afterAll(() => harness.stop())

interface Unanswered {
  code: string
  isFirst: boolean
  effect: { key: string } | { policyId: number; holder: number }
}

async function start(env: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(harness.on, env)
  servers.push(server)
  return server
}

/** The process numbers of the members that serve now, by name, as the log tells them. */
function pidsOf({ lines }: ServerProcess): Record<string, number> {
  const pids: Record<string, number> = {}
  for (const line of lines.filter((each) => each.startsWith('{'))) {
    const { msg, members, worker, pid } = JSON.parse(line)
    if (msg === 'serving') Object.assign(pids, members)
    if (msg === 'member is back' || msg === 'member replaced') pids[worker] = pid
  }
  return pids
}
const hasLogged = (server: ServerProcess, msg: string) =>
  server.lines.some((line) => line.includes(`"msg":"${msg}"`))

/**
 * Buyers call for coupons and order without a pause, over connections that are kept, from before `event` until after
 * it. Gives what they were answered, and the calls that had no answer.
 */
async function throughEvent(
  urlOf: () => string,
  event: () => Promise<void>,
  onAnswer?: (answer: KeptAnswer) => void,
) {
  const totalQuantity = 1_000_000
  const policyId = await harness.policy({ totalQuantity })
  const productId = await harness.product({ stock: totalQuantity, price: 1 })
  await inParallel(
    Array.from({ length: callers }, (_, index) => index + 1),
    callers,
    (userId) => harness.charge(userId, 1_000_000),
  )
  const client = createKeepAliveClient(callers)
  const answers: KeptAnswer[] = []
  const unanswered: Unanswered[] = []
  const coupons = new Set<string>()
  const orders = new Set<string>()
  let isOver = false
  let calls = 0
  async function caller(userId: number): Promise<void> {
    while (!isOver) {
      const number = ++calls
      const isOrder = number % 3 === 0
      const key = `${policyId} ${number}`
      const holder = 1000 + number
      const [path, body] = isOrder
        ? ['/v1/orders', { userId, items: [{ productId, quantity: 1 }] }]
        : [`/v1/coupon-policies/${policyId}/issue`, { userId: holder }]
      try {
        const answer = await client.post(urlOf() + path, body, isOrder ? { 'Idempotency-Key': key } : {})
        answers.push(answer)
        onAnswer?.(answer)
        if (answer.status === 201) (isOrder ? orders : coupons).add(answer.body.id)
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
        const { code, isFirst } = error
        unanswered.push({ code, isFirst, effect: isOrder ? { key } : { policyId, holder } })
      }
      await new Promise((resolve) => setTimeout(resolve, betweenCallsMs))
    }
  }
  const running = Promise.all(Array.from({ length: callers }, (_, index) => caller(index + 1)))
  await until('the run to be under way', async () => answers.length > 100, restartedWithinMs)
  try {
    await event()
    const answered = answers.length
    if (onAnswer === undefined) {
      await until('the run to go on', async () => answers.length > answered + 100, restartedWithinMs)
    }
  } finally {
    isOver = true
    await running
    client.close()
  }
  return { policyId, answers, unanswered, coupons, orders }
}

/** Whether a call without an answer has taken effect. */
async function hasEffect({ effect }: Unanswered): Promise<boolean> {
  const rows =
    'key' in effect
      ? await harness.sql`select from idempotency_keys where key = ${effect.key}`
      : await harness.sql`select from coupons where policy_id = ${effect.policyId} and user_id = ${effect.holder}`
  return rows.length > 0
}

/** What was promised is in Postgres, nothing waits, and both stores agree. */
async function expectKept(run: Awaited<ReturnType<typeof throughEvent>>): Promise<void> {
  const { policyId, coupons, orders } = run
  const { lookAtPending } = harness.deps.scripts
  await until(
    'nothing to be pending',
    async () => {
      const looks = await Promise.all(
        [keys.couponPending(policyId), keys.stockPending(0)].map((stream) => lookAtPending(stream, 0, 1)),
      )
      return looks.every(({ length }) => length === 0)
    },
    restartedWithinMs,
  )
  const issued = (await harness.sql`select id from coupons where policy_id = ${policyId}`).map(({ id }) => id)
  expect([...coupons].filter((id) => !issued.includes(id))).toEqual([])
  const paid = new Set((await harness.sql`select id from orders where status = 'PAID'`).map(({ id }) => id))
  expect([...orders].filter((id) => !paid.has(id))).toEqual([])
  await expectExact(harness, policyId, issued.length)
  await expectConsistent(harness)
  const verdict = await harness.audit.run()
  expect(verdict.rules.filter(({ violated }) => violated > 0)).toEqual([])
}

/** Everything was answered 201, or 503 with the time to come again. */
function expectServed({ answers, unanswered }: { answers: KeptAnswer[]; unanswered: Unanswered[] }): void {
  expect(unanswered).toEqual([])
  const others = answers.filter(({ status }) => status !== 201)
  expect(others.filter(({ status, headers }) => status !== 503 || headers['retry-after'] !== '1')).toEqual([])
}

describe('a fleet of processes on one port', () => {
  it('[ALL-1, CPN-3, ORD-4] is replaced one by one under load: no call fails; each scrape shows all of them', async () => {
    const server = await start({ WORKERS: '2' })
    const before = pidsOf(server)
    expect(Object.keys(before)).toEqual(['api-1', 'api-2', 'background'])
    const run = await throughEvent(
      () => server.url,
      async () => {
        server.signal('SIGUSR2')
        await until(
          'the rolling restart',
          async () => hasLogged(server, 'rolling restart ended'),
          restartedWithinMs,
        )
      },
    )
    expectServed(run)
    await expectKept(run)
    const after = pidsOf(server)
    for (const [name, pid] of Object.entries(after)) expect([name, pid]).not.toEqual([name, before[name]])

    const scrapes = await Promise.all(
      [1, 2, 3, 4].map(async () => parseExposition(await (await fetch(`${server.url}/metrics`)).text())),
    )
    for (const { samples } of scrapes) {
      const up = samples.filter(({ name, labels }) => name === 'seonchak_up' && labels.store === 'redis')
      expect(up.map(({ labels, value }) => [labels.worker, value]).sort()).toEqual([
        ['api-1', 1],
        ['api-2', 1],
        ['background', 1],
      ])
    }
    expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  })

  it('[ALL-1, CPN-3, ORD-4] loses one to SIGKILL under load: its calls break, all others go on, and it comes back', async () => {
    const server = await start({ WORKERS: '2' })
    const { 'api-1': victim } = pidsOf(server)
    const run = await throughEvent(
      () => server.url,
      async () => {
        process.kill(victim as number, 'SIGKILL')
        await until(
          'the member to be back',
          async () => hasLogged(server, 'member is back'),
          restartedWithinMs,
        )
      },
    )
    // No more than were under way: a caller has one call at a time.
    expect(run.unanswered.length).toBeLessThanOrEqual(callers)
    expectServed({ ...run, unanswered: [] })
    await expectKept(run)
    expect(pidsOf(server)['api-1']).not.toBe(victim)
  })

  it('[ALL-1] ends on SIGTERM: what was sent is answered, on connections that are then closed', async () => {
    const server = await start({ WORKERS: '2' })
    let stopping = false
    const late: KeptAnswer[] = []
    const run = await throughEvent(
      () => server.url,
      async () => {
        const ended = server.kill('SIGTERM')
        await until('the end to begin', async () => hasLogged(server, 'stopping all members'))
        stopping = true
        expect(await ended).toEqual({ code: 0, signal: null })
      },
      (answer) => {
        if (stopping) late.push(answer)
      },
    )
    // Who comes after the port is closed is told so at once, and so is who waits to be let in then: nothing that such a
    // one sent is done. Nobody who was let in is cut off.
    const cutOff = run.unanswered.filter(
      ({ code, isFirst }) => code !== 'ECONNREFUSED' && !(code === 'ECONNRESET' && isFirst),
    )
    expect(cutOff).toEqual([])
    expectServed({ ...run, unanswered: [] })
    const kept = late.filter(({ headers }) => headers.connection !== 'close')
    expect(kept.length).toBeLessThanOrEqual(callers)
    const successor = await start()
    await expectKept(run)
    for (const call of run.unanswered) expect([call, await hasEffect(call)]).toEqual([call, false])
    expect(await successor.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  })
})

describe('several processes on the same stores, behind a balancer that asks /readyz', () => {
  it('[ALL-1, ALL-2, CPN-3, ORD-4] are restarted one by one under load: no call fails', async () => {
    // Much longer than the balancer takes to notice, also where this test waits for its turn on the machine.
    const slow = { SHUTDOWN_DELAY_MS: '3000', SHUTDOWN_TIMEOUT_MS: '30000' }
    const pair = [await start(slow), await start(slow)]
    let ready = [...pair]
    let turn = 0
    let isOver = false
    const balancer = (async () => {
      while (!isOver) {
        const looks = await Promise.all(
          servers.map(async (server) => {
            const answer = await fetch(`${server.url}/readyz`).catch(() => undefined)
            await answer?.body?.cancel()
            return answer?.status === 200 ? [server] : []
          }),
        )
        if (looks.flat().length > 0) ready = looks.flat()
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })()
    const run = await throughEvent(
      () => (ready[turn++ % ready.length] as ServerProcess).url,
      async () => {
        for (const old of pair) {
          await start(slow)
          expect(await old.kill('SIGTERM')).toEqual({ code: 0, signal: null })
        }
      },
    )
    isOver = true
    await balancer
    // A call that found the port closed was never sent: a balancer passes it on.
    expectServed({ ...run, unanswered: run.unanswered.filter(({ code }) => code !== 'ECONNREFUSED') })
    await expectKept(run)
  })
})
