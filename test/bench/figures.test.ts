import { expect, test } from 'vitest'
import { chart, drawnBy } from '../../scripts/bench/chart.ts'
import type { Figures } from '../../scripts/bench/measure.ts'
import { median, summarise } from '../../scripts/bench/medians.ts'
import { BARE, LOCK, SERVICE } from '../../scripts/bench/scenario.ts'
import { table } from '../../scripts/bench/table.ts'

const figures = (requestsPerS: number): Figures => ({
  requestsPerS,
  acceptedPerS: requestsPerS,
  refusedPerS: 0,
  answers: { 201: requestsPerS },
  failures: {},
  latencyMs: { p50: 10, p95: 20, p99: 30, max: 40 },
  committed: requestsPerS,
  committedPerS: requestsPerS,
  told: requestsPerS,
  cpuSecondsPer1000: { node: 0.1, redis: 0.01, postgres: 0.05, generator: 0.03 },
  othersCpu: 0.01,
  memoryBytes: { node: 1, redis: 1, postgres: 1 },
  rulesHeld: 23,
})
const result = (target: string, ...rates: number[]) => ({
  target,
  rate: undefined,
  against: undefined,
  rounds: rates.map(figures),
})
const issued = {
  scenario: 'coupon-issue',
  about: 'coupons',
  notes: {},
  targets: [result(BARE, 1000, 3000, 2000), result(LOCK, 10, 20, 40), result(SERVICE, 600, 1500, 1000)],
}

test('the median is the middle one, or the mean of the two in the middle', () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 3, 2])).toBe(2.5)
  expect(median([])).toBeNaN()
})

test('a ratio is taken within each round, and then the median of them', () => {
  const [bare, lock, service] = summarise(issued)
  expect(bare).toMatchObject({ requestsPerS: 2000, ofBare: undefined, ofLock: undefined })
  expect(lock).toMatchObject({ requestsPerS: 20, ofLock: undefined })
  // 0.6, 0.5, 0.5 and 60, 75, 25: not 1000/2000 and 1000/20.
  expect(service).toMatchObject({ requestsPerS: 1000, ofBare: 0.5, ofLock: 60 })
})

test('at a fixed rate the p99 is held against the p50 of the bare handler', () => {
  const targets = [BARE, SERVICE].map((target) => ({ ...result(target, 500), rate: 500 }))
  const [, service] = summarise({ ...issued, targets })
  expect(service).toMatchObject({ ofBare: undefined, p99OfBareP50: 3 })
})

test('table and chart tell the medians', () => {
  const summaries = summarise(issued)
  expect(table(summaries)).toMatch(
    /^coupon-issue +service +1,000 +1,000 +0 +1,000 +10.0 +20.0 +30.0 +0.50 +60/m,
  )
  const svg = chart(summaries, '2 cores & 1 < 2')
  expect(svg).toContain('50 % <tspan class="soft">1,000/s</tspan>')
  expect(svg).toContain('60 ×')
  expect(svg).toContain('2 cores &amp; 1 &lt; 2')
})

test('what others took in a scenario without a bar says nothing of the chart', () => {
  const unseen = { ...issued, scenario: 'growth', targets: [result('1,000,000 issued', 500)] }
  expect(drawnBy([issued, unseen].flatMap(summarise)).map(({ scenario }) => scenario)).toEqual(
    Array(3).fill('coupon-issue'),
  )
})
