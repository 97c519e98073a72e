import type { Summary } from './medians.ts'

const MS_DIGITS = 1

const whole = (value: number | undefined) =>
  value === undefined ? '' : Math.round(value).toLocaleString('en')
const times = (value: number | undefined) =>
  value === undefined ? '' : value >= 10 ? value.toFixed(0) : value.toFixed(2)

const columns: [title: string, cell: (summary: Summary) => string][] = [
  ['scenario', ({ scenario }) => scenario],
  ['target', ({ target }) => target],
  ['requests/s', ({ requestsPerS }) => whole(requestsPerS)],
  ['accepted/s', ({ acceptedPerS }) => whole(acceptedPerS)],
  ['refused/s', ({ refusedPerS }) => whole(refusedPerS)],
  ['rows/s', ({ committedPerS }) => whole(committedPerS)],
  ['p50 ms', ({ p50 }) => p50.toFixed(MS_DIGITS)],
  ['p95', ({ p95 }) => p95.toFixed(MS_DIGITS)],
  ['p99', ({ p99 }) => p99.toFixed(MS_DIGITS)],
  ['× bare', ({ ofBare }) => times(ofBare)],
  ['× lock', ({ ofLock }) => times(ofLock)],
  ['× first', ({ ofSmallest }) => times(ofSmallest)],
  ['p99/p50', ({ p99OfBareP50 }) => times(p99OfBareP50)],
  ['Node', ({ cpuSecondsPer1000: cpu }) => cpu?.node.toFixed(3) ?? ''],
  ['Redis', ({ cpuSecondsPer1000: cpu }) => cpu?.redis.toFixed(3) ?? ''],
  ['Postgres', ({ cpuSecondsPer1000: cpu }) => cpu?.postgres.toFixed(3) ?? ''],
  ['load', ({ cpuSecondsPer1000: cpu }) => cpu?.generator.toFixed(3) ?? ''],
  ['others', ({ othersCpu }) => (othersCpu === undefined ? '' : `${Math.round(othersCpu * 100)} %`)],
]

/**
 * The medians as a table for the terminal, without the columns that say nothing here. Node to load are CPU seconds per 1,000 requests, load being the generator;
 * others is the share of the machine that programs outside of the run took.
 */
export function table(summaries: readonly Summary[]): string {
  const filled = columns.filter(([, cell]) => summaries.some((each) => cell(each) !== ''))
  const rows = [
    filled.map(([title]) => title),
    ...summaries.map((each) => filled.map(([, cell]) => cell(each))),
  ]
  const widths = filled.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((text, column) =>
          column < 2 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
