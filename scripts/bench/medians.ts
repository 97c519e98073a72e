import type { Figures, Parts } from './measure.ts'
import type { ScenarioResult, TargetResult } from './run.ts'
import { BARE, LOCK } from './scenario.ts'

/** The figures of a target over its rounds. */
export type Summary = {
  scenario: string
  target: string
  requestsPerS: number
  acceptedPerS: number
  refusedPerS: number
  committedPerS: number | undefined
  p50: number
  p95: number
  p99: number
  /** medians of the ratios within a round, so that a drift of the machine does not enter */
  ofBare: number | undefined
  ofLock: number | undefined
  /** to the smallest of its kind, where growth is measured */
  ofSmallest: number | undefined
  /** its p99 to the p50 of the bare handler, where both got requests at the same rate */
  p99OfBareP50: number | undefined
  cpuSecondsPer1000: Record<Parts, number> | undefined
  memoryBytes: Record<'node' | 'redis' | 'postgres', number> | undefined
  /** the largest of all rounds: share of the machine that other programs took */
  othersCpu: number | undefined
}

/** The middle of the values; of an even number, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [low = Number.NaN, high = low] =
    sorted.length % 2 === 1 ? [sorted[Math.floor(middle)]] : [sorted[middle - 1], sorted[middle]]
  return (low + high) / 2
}

/** Condenses the rounds of a scenario to one row for each target. */
export function summarise({ scenario, targets }: ScenarioResult): Summary[] {
  const bare = targets.find(({ target }) => target === BARE)
  const lock = targets.find(({ target }) => target === LOCK)
  return targets.map(({ target, rate, against, rounds }): Summary => {
    const of = (pick: (figures: Figures) => number) => median(rounds.map(pick))
    const every = <Value extends Record<string, number>>(pick: (figures: Figures) => Value | undefined) => {
      const first = rounds[0] && pick(rounds[0])
      return (
        first &&
        (Object.fromEntries(
          Object.keys(first).map((key) => [key, of((figures) => pick(figures)?.[key] ?? Number.NaN)]),
        ) as Value)
      )
    }
    return {
      scenario,
      target,
      requestsPerS: of(({ requestsPerS }) => requestsPerS),
      acceptedPerS: of(({ acceptedPerS }) => acceptedPerS),
      refusedPerS: of(({ refusedPerS }) => refusedPerS),
      committedPerS:
        rounds[0]?.committedPerS === undefined ? undefined : of((each) => each.committedPerS ?? 0),
      p50: of(({ latencyMs }) => latencyMs.p50),
      p95: of(({ latencyMs }) => latencyMs.p95),
      p99: of(({ latencyMs }) => latencyMs.p99),
      ofBare: target === BARE || rate !== undefined ? undefined : ratio(rounds, bare),
      ofLock: target === BARE || target === LOCK ? undefined : ratio(rounds, lock),
      ofSmallest: ratio(
        rounds,
        targets.find((other) => other.target === against),
      ),
      p99OfBareP50:
        target === BARE || rate === undefined || !bare
          ? undefined
          : of(({ latencyMs }) => latencyMs.p99) / median(bare.rounds.map(({ latencyMs }) => latencyMs.p50)),
      cpuSecondsPer1000: every(({ cpuSecondsPer1000 }) => cpuSecondsPer1000),
      memoryBytes: every(({ memoryBytes }) => memoryBytes),
      othersCpu:
        rounds[0]?.othersCpu === undefined
          ? undefined
          : Math.max(...rounds.map((each) => each.othersCpu ?? 0)),
    }
  })
}

function ratio(rounds: readonly Figures[], to: TargetResult | undefined): number | undefined {
  if (!to) return undefined
  return median(
    rounds.map(({ requestsPerS }, round) => requestsPerS / (to.rounds[round]?.requestsPerS ?? Number.NaN)),
  )
}
