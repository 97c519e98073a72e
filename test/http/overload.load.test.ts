import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildApp } from '../../src/app.ts'
import { createDomains } from '../../src/domains.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, until } from '../setup/harness.ts'

/** Each transaction takes this much longer, ms, so that the commits are what limits and not these two cores. */
const slowerMs = 80
const maxQueue = 64
const runMs = 2000
const betweenTicksMs = 5

let harness: Harness
beforeAll(async () => {
  harness = await startHarness({
    env: { COMMIT_MAX_QUEUE: String(maxQueue), COMMIT_MAX_BATCH: '16', COMMIT_MAX_IN_FLIGHT: '2' },
  })
})
afterAll(() => harness.stop())

it('[ALL-1, ALL-4] at three times the load the rest is refused before admission, and the queue keeps to its bound', async () => {
  const { deps } = harness
  const { transactions } = deps
  const slow: typeof deps = {
    ...deps,
    transactions: {
      ...transactions,
      run: async (body) => {
        await pause(slowerMs)
        return transactions.run(body)
      },
    },
  }
  const domains = createDomains(slow)
  const app = buildApp(slow, () => true, domains)
  const policyId = await harness.policy({ totalQuantity: 1_000_000 })
  let userId = 0
  let mostTaken = 0
  const statuses: Record<number, number> = {}

  async function issue(): Promise<number> {
    const response = await app.request(`/v1/coupon-policies/${policyId}/issue`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ userId: ++userId }),
    })
    statuses[response.status] = (statuses[response.status] ?? 0) + 1
    if (response.status === 503) expect(response.headers.get('retry-after')).toBe('1')
    mostTaken = Math.max(mostTaken, domains.coupons.commit.stats().taken)
    return response.status
  }

  /** Accepted per second of as many callers as the queue has places, each with one call after the other. */
  async function best(): Promise<number> {
    const startedAt = performance.now()
    let accepted = 0
    await Promise.all(
      Array.from({ length: maxQueue }, async () => {
        while (performance.now() - startedAt < runMs) if ((await issue()) === 201) accepted++
      }),
    )
    return (accepted * 1000) / (performance.now() - startedAt)
  }

  /** Accepted per second while calls come at a rate of their own, however they are answered. */
  async function offered(perSecond: number): Promise<number> {
    const startedAt = performance.now()
    const calls: Promise<number>[] = []
    for (let elapsed = 0; elapsed < runMs; elapsed = performance.now() - startedAt) {
      while (calls.length < (perSecond * elapsed) / 1000) calls.push(issue())
      await pause(betweenTicksMs)
    }
    const accepted = (await Promise.all(calls)).filter((status) => status === 201).length
    return (accepted * 1000) / (performance.now() - startedAt)
  }

  await Promise.all(Array.from({ length: maxQueue }, issue))
  const most = await best()
  const refusedBefore = statuses[503] ?? 0
  const cpuBefore = process.cpuUsage()
  const kept = await offered(3 * most)
  const refused = (statuses[503] ?? 0) - refusedBefore
  const { user, system } = process.cpuUsage(cpuBefore)
  console.log(
    `overload: best ${most.toFixed()}/s, at three times the load ${kept.toFixed()}/s accepted ` +
      `(${((100 * kept) / most).toFixed()} %), ${refused} refused, ${((user + system) / 1000).toFixed()} ms of CPU`,
  )
  expect(Object.keys(statuses).sort()).toEqual(['201', '503'])
  expect(refused).toBeGreaterThan(most)
  expect(mostTaken).toBe(maxQueue)
  // The share that is kept is printed and judged by the benchmark, on a machine of its own: here the calls are made in
  // the process that answers them, and whoever else uses its cores takes from both.

  // Refused before admission: Redis has never heard of those, and every accepted one is committed.
  await until('nothing under way', async () => domains.coupons.commit.stats().taken === 0)
  await expectExact(harness, policyId, statuses[201] ?? 0)
})
