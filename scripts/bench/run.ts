import { rm } from 'node:fs/promises'
import { availableParallelism, loadavg } from 'node:os'
import { makePrivateFolder } from '../embedded/private-stores.ts'
import { throwIfAborted } from '../embedded/setup-error.ts'
import { type Generator, startGenerator } from './load.ts'
import { type Figures, type Load, measure } from './measure.ts'
import type { Options } from './options.ts'
import type { Progress } from './progress.ts'
import type { Bench, Scenario, Target } from './scenario.ts'
import { type Stack, type Stores, startBare, startStack, startStores } from './stack.ts'

const WARM_UP_MS = 500
/**
 * A process that is new is warmed up for so many times the measurement: V8 compiles what is hot in the first seconds, and
 * the bare handler, which is there for all scenarios, has them behind it.
 */
const NEW_WARM_UP_FACTOR = 4
/** More orders a second than two cores can commit. */
const MOST_ORDERS_PER_S = 12_000

export type TargetResult = {
  target: string
  /** at which requests arrived, a second; undefined where each connection sent when it was answered */
  rate: number | undefined
  /** the target of the same scenario whose rate this one's is divided by, besides those that all are held against */
  against: string | undefined
  rounds: Figures[]
}
export type ScenarioResult = {
  scenario: string
  about: string
  targets: TargetResult[]
  /** what a scenario found out besides, by name */
  notes: Record<string, number>
}
export type Results = {
  scenarios: ScenarioResult[]
  faults: string[]
  versions: { postgres: string; redis: string }
  loadAtStart: number
}

/**
 * Runs scenarios one after the other on stores of its own, which are gone when it resolves or throws.
 * @param options.seconds of each measurement
 * @param progress is told what goes on
 * @param signal ends the run in order
 */
export async function runScenarios(
  options: Pick<Options, 'scenarios' | 'seconds' | 'rounds' | 'connections' | 'cpuProf'>,
  progress: Progress,
  signal: AbortSignal,
): Promise<Results> {
  const loadAtStart = loadavg()[0] ?? 0
  const { folder, guardian } = await makePrivateFolder(progress.say)
  let stores: Stores | undefined
  let bare: Stack | undefined
  let generator: Generator | undefined
  try {
    stores = await startStores(progress.say)
    bare = await startBare({ logDir: folder, signal })
    generator = startGenerator()
    const measureMs = options.seconds * 1000
    const load = { generator, connections: options.connections, warmUpMs: WARM_UP_MS, measureMs }
    const newWarmUpMs = Math.max(WARM_UP_MS, NEW_WARM_UP_FACTOR * measureMs)
    const warmed = new WeakSet<Stack>()
    const results: Results = {
      scenarios: [],
      faults: [],
      versions: { postgres: stores.postgres.version, redis: stores.redis.version },
      loadAtStart,
    }
    const surroundings = { stores, logDir: folder, signal }
    for (const scenario of options.scenarios) {
      const context = {
        ...options,
        surroundings,
        bare,
        load,
        newWarmUpMs,
        warmed,
        progress,
        faults: results.faults,
      }
      results.scenarios.push(await runScenario(scenario, context))
    }
    return results
  } finally {
    await generator?.stop()
    await bare?.stop()
    await stores?.remove()
    await rm(folder, { recursive: true, force: true })
    guardian.release()
  }
}

type Context = Pick<Options, 'rounds' | 'cpuProf'> & {
  surroundings: { stores: Stores; logDir: string; signal: AbortSignal }
  bare: Stack
  load: Load
  newWarmUpMs: number
  /** servers that have had load */
  warmed: WeakSet<Stack>
  progress: Progress
  faults: string[]
}

async function runScenario(scenario: Scenario, context: Context): Promise<ScenarioResult> {
  const { surroundings, bare, load, newWarmUpMs, warmed, rounds, cpuProf, progress, faults } = context
  const { stores, signal } = surroundings
  const starts: Promise<Stack>[] = []
  const run = (target: Target) => {
    throwIfAborted(signal)
    const pids = { redis: stores.redis.pid, postgres: stores.postgres.pid }
    const isNew = !warmed.has(target.stack)
    warmed.add(target.stack)
    return measure(target, { ...load, ...(isNew && { warmUpMs: newWarmUpMs }) }, pids, availableParallelism())
  }
  const bench: Bench = {
    bare,
    budget: Math.ceil(((newWarmUpMs + load.measureMs) / 1000) * MOST_ORDERS_PER_S),
    async startService(settings = {}) {
      const profile = cpuProf && { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${cpuProf}` }
      const start = startStack(surroundings, starts.length, { ...profile, ...settings })
      starts.push(start)
      const stack = await start
      if (!stack.data) throw new Error('a service has data')
      return { ...stack, data: stack.data }
    },
    probe: async (target) => (await run(target)).figures.requestsPerS,
  }
  try {
    progress.at(`${scenario.name}: set-up`)
    const { targets, notes = {} } = await scenario.open(bench)
    const results = targets.map(
      ({ name, rate, against }): TargetResult => ({ target: name, rate, against, rounds: [] }),
    )
    for (let round = 1; round <= rounds; round++) {
      for (const [index, target] of targets.entries()) {
        progress.at(`${scenario.name}: ${target.name}, round ${round} of ${rounds}`)
        const { figures, faults: found } = await run(target)
        results[index]?.rounds.push(figures)
        faults.push(...found.map((fault) => `${scenario.name}, ${target.name}, round ${round}: ${fault}`))
        progress.measured(scenario.name, target.name, figures, found)
      }
    }
    progress.done(scenario.name)
    return { scenario: scenario.name, about: scenario.about, targets: results, notes }
  } finally {
    // Those too that were still starting when another one failed.
    const started = await Promise.allSettled(starts)
    await Promise.all(started.map((start) => (start.status === 'fulfilled' ? start.value.stop() : undefined)))
  }
}
