import { z } from '@hono/zod-openapi'
import { json } from './frame.ts'
import { type Api, addProbe, jsonAnswer, problemResponses } from './openapi.ts'
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
  const live = {
    path: '/livez',
    summary: 'Whether the process runs',
    responses: { 200: jsonAnswer('It does', z.object({ status: z.literal('live') })) },
  }
  addProbe(api, live, (c) => json(c, { status: 'live' }, 200))

  const ready = {
    path: '/readyz',
    summary: 'Whether it can take requests now: it has started, does not drain, and both stores answer',
    responses: {
      200: jsonAnswer('It can', z.object({ status: z.literal('ready') })),
      503: problemResponses()[503],
    },
  }
  addProbe(api, ready, async (c) => {
    const isReady =
      health.isServing() &&
      (await health.askStores().then(
        () => true,
        () => false,
      ))
    return isReady ? json(c, { status: 'ready' }, 200) : unavailable(c)
  })
}
