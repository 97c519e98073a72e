import { execFileSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { chart, drawnBy } from './chart.ts'
import { type Summary, summarise } from './medians.ts'
import type { Options } from './options.ts'
import type { Results } from './run.ts'

const ROOT = join(import.meta.dirname, '../..')
const FOLDER = join(ROOT, 'docs/benchmarks')
const GIB = 2 ** 30
/** Share of the machine that others may take before the figures say little. */
export const DISTURBED = 0.05

/** A run as it is kept: the conditions, the medians, and the figures of every round. */
export type Report = ReturnType<typeof reportOf>

/** Puts a run together with the conditions that it was made under. */
export function reportOf(results: Results, options: Pick<Options, 'seconds' | 'rounds' | 'connections'>) {
  const { seconds, rounds, connections } = options
  return {
    at: new Date().toISOString(),
    version: versionMeasured(),
    machine: {
      cpus: availableParallelism(),
      model: cpus()[0]?.model.trim() ?? '',
      memoryGiB: Math.round(totalmem() / GIB),
      system: `${process.platform} ${release().split('.', 2).join('.')}`,
      loadAtStart: results.loadAtStart,
    },
    versions: { node: process.version, ...results.versions },
    options: { seconds, rounds, connections },
    medians: results.scenarios.flatMap(summarise),
    notes: Object.fromEntries(results.scenarios.map(({ scenario, notes }) => [scenario, notes])),
    faults: results.faults,
    scenarios: results.scenarios,
  }
}

/** The commit, and whether the working tree differs from it; empty outside of a checkout. */
function versionMeasured(): string {
  try {
    const args = ['-c', 'safe.directory=*', 'describe', '--always', '--dirty', '--abbrev=12']
    return execFileSync('git', args, {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return '' // no git, or no checkout: an unpacked archive
  }
}

/** Writes the report and its chart into docs/benchmarks/. Gives the file of the report. */
export async function keepReport(report: Report): Promise<string> {
  await mkdir(FOLDER, { recursive: true })
  const name = `${report.at.slice(0, 10)}.json`
  await writeFile(join(FOLDER, name), `${JSON.stringify(report, null, 2)}\n`)
  await writeFile(join(FOLDER, 'latest.svg'), chartOf(report))
  return `docs/benchmarks/${name}`
}

/** The chart of a run, under the conditions of what is drawn: a scenario without a bar says nothing about the bars. */
export function chartOf(report: Report): string {
  const medians = drawnBy(report.medians)
  return chart(medians, conditionsOf({ ...report, medians }))
}

/** In one line what was measured on, and whether the machine was left to it. */
export function conditionsOf({ at, machine, versions, options, medians }: Report): string {
  const { connections, seconds, rounds } = options
  const others = othersOf(medians)
  const taken =
    others > DISTURBED ? `, up to ${Math.round(others * 100)} % taken by others` : ' for all parts'
  return (
    `${machine.cpus} cores${taken}, ${connections} connections, medians of ${rounds} × ${seconds} s, ` +
    `fsync and AOF on, ${versions.postgres}, ${versions.redis}, Node ${versions.node.slice(1)}, ${at.slice(0, 10)}`
  )
}

/** What the scenarios found out besides, one line each. */
export function notesOf(report: Report): string[] {
  return Object.entries(report.notes).flatMap(([scenario, notes]) =>
    Object.entries(notes).map(
      ([note, value]) => `${scenario}: ${note}: ${value.toLocaleString('en', { maximumFractionDigits: 1 })}`,
    ),
  )
}

/** The largest share of the machine that other programs took in any run. */
export function othersOf(medians: readonly Summary[]): number {
  return Math.max(0, ...medians.map(({ othersCpu }) => othersCpu ?? 0))
}
