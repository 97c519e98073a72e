import type { Stack, StackData } from './stack.ts'
import type { Traffic } from './traffic.ts'

/** What a scenario measures in turn: a server, and the traffic of each run on it. */
export type Target = {
  name: string
  stack: Stack
  /** Sets up one run: what it uses up is made anew each time. */
  traffic(): Promise<Traffic>
  /** the answers that the run is about; any other fails it */
  expects: readonly string[]
  /** requests a second that arrive; without it, as many as are answered */
  rate?: number | undefined
  /** the target whose rate this one's is divided by, beside those of the same scenario that all are held against */
  against?: string | undefined
}

/** What a scenario may use to make its targets. Servers that it starts are stopped when it is over. */
export type Bench = {
  bare: Stack
  startService(settings?: Record<string, string>): Promise<Stack & { data: StackData }>
  /** requests that a run may send at most, warm-up included, for what is used up */
  budget: number
  /** One run that is measured but not reported. Gives requests a second. */
  probe(target: Target): Promise<number>
}

export type Scenario = {
  name: string
  /** one line for the help and the report */
  about: string
  open(bench: Bench): Promise<{ targets: Target[]; notes?: Record<string, number> }>
}

export const BARE = 'bare handler'
export const LOCK = 'lock per request'
export const SERVICE = 'service'

/** How the traffic of a service is made: once for the stack, and then for each run. */
export type Prepare = (
  stack: Stack & { data: StackData },
  bench: Pick<Bench, 'budget'>,
) => Promise<() => Promise<Traffic>>

/** What is held against the bare handler. */
export type Comparison = {
  name: string
  about: string
  /** its accepted requests are writes: it is held against lock per request too */
  isCommitted: boolean
  /** what the service answers; the bare handler answers 201 to a POST and 200 to a GET */
  expects: readonly string[]
  bare: Traffic
  prepare: Prepare
}

/** A scenario of the bare handler, the service with batches of one (for writes), and the service, in this order. */
export function compare({ name, about, isCommitted, expects, bare, prepare }: Comparison): Scenario {
  return {
    name,
    about,
    async open(bench) {
      const target = async (label: string, settings?: Record<string, string>): Promise<Target> => {
        const stack = await bench.startService(settings)
        return { name: label, stack, expects, traffic: await prepare(stack, bench) }
      }
      const services = await Promise.all([
        ...(isCommitted ? [target(LOCK, { COMMIT_MAX_BATCH: '1' })] : []),
        target(SERVICE),
      ])
      const limit = { name: BARE, stack: bench.bare, expects: ['200', '201'], traffic: async () => bare }
      return { targets: [limit, ...services] }
    },
  }
}
