/** `npm run bench`: how fast the service is, held against the limit of the machine in the same run. */
import { writeFile } from 'node:fs/promises'
import { HELP, type Options, readOptions } from './bench/options.ts'
import { showProgress } from './bench/progress.ts'
import { DISTURBED, keepReport, notesOf, othersOf, reportOf } from './bench/report.ts'
import { runScenarios } from './bench/run.ts'
import { table } from './bench/table.ts'
import { exitCodeOf } from './exit-code.ts'
import { listenForEnd } from './start/end.ts'

const LEGEND = 'Node, Redis, Postgres and load: CPU seconds for 1,000 requests. More in docs/benchmarks.md'

/**
 * Runs scenarios, prints the table of medians and keeps the report as asked for.
 * @returns the exit code: 0, or 1 when a run had a fault
 */
export async function bench(options: Options): Promise<number> {
  const progress = showProgress(options.scenarios.length)
  const end = listenForEnd(process.env, progress.say)
  const results = await runScenarios(options, progress, end.signal)
    .catch((error: unknown) => {
      throw end.death === undefined ? error : new Error(end.death)
    })
    .finally(() => progress.stop())
  const report = reportOf(results, options)
  process.stdout.write(`${[table(report.medians), LEGEND, ...notesOf(report)].join('\n')}\n`)
  if (options.out) await writeFile(options.out, `${JSON.stringify(report, null, 2)}\n`)
  const others = othersOf(report.medians)
  if (others > DISTURBED) {
    console.error(`bench: other programs took up to ${Math.round(others * 100)} % of the machine`)
  }
  for (const fault of results.faults) console.error(`bench: ${fault}`)
  if (results.faults.length > 0) return 1
  if (options.isAll || options.write) console.error(`bench: written: ${await keepReport(report)}`)
  return 0
}

if (import.meta.main) {
  const code = await exitCodeOf('bench', HELP, async () => {
    const options = readOptions(process.argv.slice(2))
    if (!options.help) return bench(options)
    process.stdout.write(HELP)
    return 0
  })
  process.exit(code)
}
