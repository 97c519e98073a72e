import { countCommitted } from './dataset.ts'
import type { Ends, Outcome } from './generator.ts'
import type { Generator } from './load.ts'
import type { Target } from './scenario.ts'
import { type Pids, readMemory, readUsage, type Usage } from './usage.ts'

export type Parts = 'node' | 'redis' | 'postgres' | 'generator'

export type Figures = {
  requestsPerS: number
  /** 2xx, and 4xx, which are never added up */
  acceptedPerS: number
  refusedPerS: number
  answers: Record<string, number>
  failures: Record<string, number>
  latencyMs: Outcome['latencyMs']
  /** rows of coupons issued and orders paid, counted in Postgres; undefined for the bare handler */
  committed: number | undefined
  committedPerS: number | undefined
  /** 201 answers that the client was given */
  told: number
  cpuSecondsPer1000: Record<Parts, number> | undefined
  /** share of the machine's processors that programs outside of the run used */
  othersCpu: number | undefined
  memoryBytes: Record<'node' | 'redis' | 'postgres', number> | undefined
  /** rules that the audit looked at, all of them held */
  rulesHeld: number | undefined
}

export type Measured = { figures: Figures; faults: string[] }

export type Load = { generator: Generator; connections: number; warmUpMs: number; measureMs: number }

/**
 * Warms a target up, measures it, and holds what the client was told against what Postgres has and the audit says.
 * @param pids of the stores; both are shared by all targets, of which one works at a time
 */
export async function measure(
  target: Target,
  { generator, connections, warmUpMs, measureMs }: Load,
  pids: Pick<Pids, 'redis' | 'postgres'>,
  cpus: number,
): Promise<Measured> {
  const { stack, expects, rate } = target
  const { data } = stack
  const traffic = await target.traffic()
  const all: Pids = { ...pids, node: stack.pid, generator: generator.pid }
  let committedBefore = 0
  let usageBefore: Usage
  const job = { baseUrl: stack.baseUrl, traffic, connections, warmUpMs, measureMs, rate }
  const outcome = await generator.run(job, async () => {
    if (data) committedBefore = await countCommitted(data.sql)
    usageBefore = readUsage(all)
  })
  const usageAfter = readUsage(all)
  const memoryBytes = readMemory(all)
  const committed = data && (await countCommitted(data.sql)) - committedBefore
  const verdict = await data?.audit()

  const { answers, failures, latencyMs, milliseconds } = outcome
  const seconds = milliseconds / 1000
  const sum = (pattern: RegExp) =>
    Object.entries(answers).reduce((total, [answer, count]) => total + (pattern.test(answer) ? count : 0), 0)
  const requests = sum(/./)
  const told = sum(/^201/)
  const others = othersCpu(usageBefore, usageAfter, seconds * cpus)
  const faults = [
    ...(verdict?.rules ?? [])
      .filter(({ violated }) => violated > 0)
      .map(
        ({ rule, about, violated, violations }) =>
          `the audit found rule ${rule} broken ${violated} times (${about}): ${JSON.stringify(violations[0])}`,
      ),
    ...(committed !== undefined && told > committed
      ? [`clients were told ${told} times that a write is done, and Postgres has ${committed}`]
      : []),
    ...faultsOf(outcome, expects),
    ...faultsOf(outcome.warmUp, expects).map((fault) => `warm-up: ${fault}`),
    ...(requests === 0 ? ['no request was answered'] : []),
  ]
  const figures: Figures = {
    requestsPerS: requests / seconds,
    acceptedPerS: sum(/^2/) / seconds,
    refusedPerS: sum(/^4/) / seconds,
    answers,
    failures,
    latencyMs,
    committed,
    committedPerS: committed === undefined ? undefined : committed / seconds,
    told,
    cpuSecondsPer1000: cpuPer1000(usageBefore, usageAfter, requests),
    othersCpu: others,
    memoryBytes,
    rulesHeld: verdict?.rules.length,
  }
  return { figures, faults }
}

function faultsOf({ answers, failures, ranOut }: Ends, expects: Target['expects']): string[] {
  return [
    ...Object.entries(answers)
      .filter(([answer]) => !expects.includes(answer))
      .map(([answer, count]) => `${count} unexpected answers ${answer}`),
    ...Object.entries(failures).map(([failure, count]) => `${count} requests without an answer: ${failure}`),
    ...(ranOut ? ['the set-up did not last: there was nothing left to ask for'] : []),
  ]
}

function cpuPer1000(before: Usage, after: Usage, requests: number): Record<Parts, number> | undefined {
  if (!before || !after || requests === 0) return undefined
  const of = (part: Parts) => ((after[part] - before[part]) / requests) * 1000
  return { node: of('node'), redis: of('redis'), postgres: of('postgres'), generator: of('generator') }
}

function othersCpu(before: Usage, after: Usage, cpuSeconds: number): number | undefined {
  if (!before || !after) return undefined
  const { machine, ...parts } = after
  const ours = Object.entries(parts).reduce((sum, [part, value]) => sum + value - before[part as Parts], 0)
  return Math.max(0, (machine - before.machine - ours) / cpuSeconds)
}
