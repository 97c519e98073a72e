import type { RedisClient } from './client.ts'
import { couponScripts } from './coupon-scripts.ts'
import { pendingScripts } from './pending-scripts.ts'
import { salesScripts } from './sales-scripts.ts'
import type { ScriptSource } from './script-source.ts'
import { stockScripts } from './stock-scripts.ts'

/** Every script and its outcomes. The place in the list is the number that the script gives. */
export const scriptOutcomes = {
  'coupon.issue': [
    'NOT_LOADED',
    'ADMITTED',
    'ALREADY_ISSUED',
    'IN_PROGRESS',
    'NOT_STARTED',
    'ENDED',
    'SOLD_OUT',
  ],
  'coupon.settle': ['SETTLED', 'DROPPED'],
  'coupon.inspect': ['NOT_LOADED', 'LOADED'],
  'coupon.hold': ['HELD'],
  'coupon.load': ['START_OVER', 'READ_AGAIN', 'LOADED'],
  'stock.reserve': ['NOT_LOADED', 'RESERVED', 'INSUFFICIENT'],
  'stock.announce': ['ANNOUNCED'],
  'stock.settle': ['SETTLED', 'DROPPED'],
  'stock.inspect': ['INSPECTED'],
  'stock.load': ['START_OVER', 'LOADED'],
  'pending.look': ['LOOKED'],
  'sales.begin': ['BEGUN'],
  'sales.look': ['LOST', 'LOOKED'],
  'sales.finish': ['LOST', 'COUNTED'],
  'sales.top': ['NOT_COUNTED', 'COUNTED'],
} as const satisfies Record<string, readonly string[]>

export type ScriptName = keyof typeof scriptOutcomes

/** An outcome by name, and what it carries. */
type ScriptAnswer<Name extends ScriptName> = [(typeof scriptOutcomes)[Name][number], unknown[]]

export interface RunScript {
  /** Runs a script that gives one answer. */
  run<Name extends ScriptName>(name: Name, ...args: (string | number)[]): Promise<ScriptAnswer<Name>>
  /** Runs a script that gives several answers, a line each with spaces between what it carries. */
  runEach<Name extends ScriptName>(
    name: Name,
    ...args: (string | number)[]
  ): Promise<[ScriptAnswer<Name>[0], string[]][]>
}

export type Scripts = ReturnType<typeof bindScripts>

/**
 * Binds the scripts of lua/ to a connection as typed functions. `onRun` hears of each answer, for metrics: `FAILED` is
 * the outcome of a run that threw.
 * @throws Error when the table here and the headers of lua/ disagree
 */
export function bindScripts(
  redis: RedisClient,
  sources: ScriptSource[],
  onRun: (script: string, outcome: string, ms: number) => void = () => undefined,
) {
  for (const source of sources) {
    const outcomes: readonly string[] | undefined = scriptOutcomes[source.name as ScriptName]
    if (outcomes?.join() !== source.outcomes.join()) {
      throw new Error(`lua/${source.name}.lua and the table of scripts disagree about the outcomes`)
    }
  }

  async function call(name: ScriptName, args: (string | number)[]): Promise<unknown> {
    const command = (redis as unknown as Record<string, (...args: (string | number)[]) => Promise<unknown>>)[
      name
    ]
    if (command === undefined) throw new Error(`The connection does not know the script ${name}`)
    return command.apply(redis, args)
  }

  /** Runs a script and reads its answers, of which `answersOf` makes a list. */
  async function measured<Name extends ScriptName>(
    name: Name,
    args: (string | number)[],
    answersOf: (reply: unknown) => unknown[][],
  ): Promise<ScriptAnswer<Name>[]> {
    const startedAt = performance.now()
    try {
      const answers = answersOf(await call(name, args))
      const ms = performance.now() - startedAt
      return answers.map(([number, ...rest]) => {
        const outcome = scriptOutcomes[name][Number(number)] as ScriptAnswer<Name>[0]
        onRun(name, outcome, ms)
        return [outcome, rest]
      })
    } catch (error) {
      onRun(name, 'FAILED', performance.now() - startedAt)
      throw error
    }
  }

  const run: RunScript = {
    run: async (name, ...args) => (await measured(name, args, (reply) => [reply as unknown[]]))[0] as never,
    runEach: (name, ...args) => measured(name, args, readLines) as never,
  }

  return { ...couponScripts(run), ...stockScripts(run), ...salesScripts(run), ...pendingScripts(run) }
}

function readLines(reply: unknown): string[][] {
  return String(reply)
    .split('\n')
    .map((line) => line.split(' '))
}
