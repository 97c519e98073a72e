/** `npm run bench`: how fast the service is, held against the limit of the machine in the same run. */
import { writeFile } from 'node:fs/promises'
import { summarise } from './bench/medians.ts'
import { HELP, readOptions } from './bench/options.ts'
import { showProgress } from './bench/progress.ts'
import { runScenarios } from './bench/run.ts'
import { table } from './bench/table.ts'
import { listenForEnd } from './start/end.ts'
import { exitCodeOf } from './store-tool.ts'

/** Share of the machine that others may take before the figures say little. */
const DISTURBED = 0.05

const code = await exitCodeOf('bench', HELP, async () => {
  const options = readOptions(process.argv.slice(2))
  if (options.help) {
    process.stdout.write(HELP)
    return 0
  }
  const progress = showProgress(options.scenarios.length)
  const end = listenForEnd(process.env, progress.say)
  const results = await runScenarios(options, progress, end.signal).finally(() => progress.stop())
  const summaries = results.scenarios.flatMap(summarise)
  process.stdout.write(`${table(summaries)}\n`)
  const others = Math.max(...summaries.map(({ othersCpu }) => othersCpu ?? 0))
  if (others > DISTURBED) {
    console.error(
      `bench: other programs took up to ${Math.round(others * 100)} % of the machine: measure again when it is quiet`,
    )
  }
  for (const fault of results.faults) console.error(`bench: ${fault}`)
  if (options.out) await writeFile(options.out, `${JSON.stringify(results, null, 2)}\n`)
  return results.faults.length === 0 ? 0 : 1
})
process.exit(code)
