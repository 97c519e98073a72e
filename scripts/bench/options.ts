import { parseArgs } from 'node:util'
import { plainMessage } from '../embedded/setup-error.ts'
import { UsageError } from '../exit-code.ts'
import type { Scenario } from './scenario.ts'
import { scenarios } from './scenarios.ts'

export type Options = {
  scenarios: readonly Scenario[]
  isAll: boolean
  seconds: number
  rounds: number
  connections: number
  /** write the results into docs/benchmarks/ */
  write: boolean
  /** where the results go as JSON, besides */
  out: string | undefined
  /** folder for a CPU profile of each service */
  cpuProf: string | undefined
  help: boolean
}

export const HELP = `Usage: npm run bench [-- options]

  --scenario a,b   only these
  --duration s     seconds of each measurement, 0.2 to 600 (default 1); half a second of warm-up comes before it,
                   and for a process that is new four times the measurement
  --rounds n       how often each is measured, 1 to 50 (default 4); medians are reported
  --connections n  of the load generator, 1 to 5000 (default 256)
  --write          write docs/benchmarks/ even when not all scenarios ran
  --out file       write the results as JSON to this file too
  --cpu-prof dir   have each service write a CPU profile into this folder
  --help           print this

Starts a Postgres and a Redis of its own, with all safety on, and removes them at the end. Each scenario measures in
turn a bare Hono handler, this service with COMMIT_MAX_BATCH=1 where it writes, and this service. Settings of the service in the
environment apply to it. After each run the data is audited.
Exit code: 0 measured, 1 a rule was broken, an answer was not what the scenario is about, or it failed, 2 wrong usage.

Scenarios:
${scenarios.map(({ name, about }) => `  ${name.padEnd(16)} ${about}`).join('\n')}
`

/**
 * Reads the command line.
 * @throws UsageError when it is wrong
 */
export function readOptions(args: string[]): Options {
  let values: Record<string, string | boolean | undefined>
  try {
    ;({ values } = parseArgs({
      args,
      options: {
        scenario: { type: 'string' },
        duration: { type: 'string' },
        rounds: { type: 'string' },
        connections: { type: 'string' },
        write: { type: 'boolean' },
        out: { type: 'string' },
        'cpu-prof': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }))
  } catch (error) {
    throw new UsageError(plainMessage(error))
  }
  const number = (name: string, fallback: number, [min, max]: [number, number], isWhole: boolean) => {
    const text = values[name]
    if (text === undefined) return fallback
    const value = Number(text)
    if (text !== '' && value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value
    throw new UsageError(
      `--${name} must be ${isWhole ? 'a whole number ' : ''}from ${min} to ${max}, not "${text}".`,
    )
  }
  const text = (name: string) => {
    const value = values[name]
    if (value === '') throw new UsageError(`--${name} is empty.`)
    return typeof value === 'string' ? value : undefined
  }
  const chosen = choose(text('scenario'))
  return {
    scenarios: chosen,
    isAll: chosen.length === scenarios.length,
    seconds: number('duration', 1, [0.2, 600], false),
    rounds: number('rounds', 4, [1, 50], true),
    connections: number('connections', 256, [1, 5000], true),
    write: values.write === true,
    out: text('out'),
    cpuProf: text('cpu-prof'),
    help: values.help === true,
  }
}

function choose(names: string | undefined): readonly Scenario[] {
  if (names === undefined) return scenarios
  const wanted = names.split(',').map((name) => name.trim())
  const unknown = wanted.filter((name) => !scenarios.some((scenario) => scenario.name === name))
  if (unknown.length > 0)
    throw new UsageError(`There is no scenario ${unknown.map((name) => `"${name}"`).join(', ')}.`)
  return scenarios.filter(({ name }) => wanted.includes(name))
}
