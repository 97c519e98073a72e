import { json, named } from './frame.ts'
import type { Api } from './openapi.ts'
import { unavailable } from './problem.ts'

/** What the probes ask. */
export interface Health {
  /** started and not draining */
  isServing(): boolean
  /** asks both stores; rejects when one is out of reach */
  askStores(): Promise<void>
}

/** Adds `/livez` (the process runs) and `/readyz` (it can take requests now). */
export function addHealthRoutes(api: Api, health: Health): void {
  api.get(...named('/livez', (c) => json(c, { status: 'live' }, 200)))
  api.get(
    ...named('/readyz', async (c) => {
      const isReady =
        health.isServing() &&
        (await health.askStores().then(
          () => true,
          () => false,
        ))
      return isReady ? json(c, { status: 'ready' }, 200) : unavailable(c)
    }),
  )
}
