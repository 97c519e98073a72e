import { Presets, SingleBar } from 'cli-progress'
import type { Figures } from './measure.ts'

export type Progress = {
  say(line: string): void
  /** what is going on now */
  at(step: string): void
  measured(scenario: string, target: string, figures: Figures, faults: readonly string[]): void
  /** a scenario is over */
  done(scenario: string): void
  stop(): void
}

const FORMAT = '{bar} {value} of {total} scenarios | {duration_formatted} | {step}'

/** Shows how far the run is on standard error: a bar on a terminal, else a line for each measurement. */
export function showProgress(scenarios: number, stream: NodeJS.WriteStream = process.stderr): Progress {
  const line = (text: string) => void stream.write(`${text}\n`)
  const result = (
    scenario: string,
    target: string,
    { requestsPerS, latencyMs }: Figures,
    faults: readonly string[],
  ) =>
    `${scenario.padEnd(16)} ${target.padEnd(24)} ${Math.round(requestsPerS).toLocaleString('en').padStart(8)}/s ` +
    `p99 ${latencyMs.p99.toFixed(1).padStart(7)} ms${faults.map((fault) => `\n  ${fault}`).join('')}`
  if (!stream.isTTY) {
    return {
      say: line,
      at: () => undefined,
      measured: (...args) => line(result(...args)),
      done: () => undefined,
      stop: () => undefined,
    }
  }
  const bar = new SingleBar({ format: FORMAT, stream, hideCursor: true, barsize: 24 }, Presets.shades_classic)
  bar.start(scenarios, 0, { step: 'starting the stores' })
  return {
    say: (text) => bar.update({ step: text }),
    at: (step) => bar.update({ step }),
    measured: (scenario, target, figures, faults) => {
      if (faults.length > 0) bar.update({ step: result(scenario, target, figures, faults) })
    },
    done: () => bar.increment(),
    stop: () => bar.stop(),
  }
}
