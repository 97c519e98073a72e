import type { Worker } from 'node:cluster'
import type { Order, Report } from './fleet.ts'
import { mergeSnapshots, type Snapshot } from './telemetry/merge.ts'

/** How long the members may take to tell their metrics, ms. One that takes longer is left out of that scrape. */
const deadlineMs = 2000

/** Gathers the metrics of all members for the one that is scraped. */
export function createGathering(members: () => { name: string; worker: Worker }[]) {
  const questions = new Map<number, (name: string, metrics: Snapshot) => void>()
  let asked = 0

  /** Asks all members, and waits for them or for the deadline. */
  async function gather(): Promise<string> {
    const question = ++asked
    const awaited = members().filter(({ worker }) => worker.isConnected())
    const told = new Map<string, Snapshot>()
    const { promise: done, resolve } = Promise.withResolvers<void>()
    questions.set(question, (name, metrics) => {
      told.set(name, metrics)
      if (told.size === awaited.length) resolve()
    })
    const timer = setTimeout(resolve, deadlineMs)
    const order: Order = { type: 'measure', question }
    for (const { worker } of awaited) worker.send(order)
    await done
    clearTimeout(timer)
    questions.delete(question)
    return mergeSnapshots([...told].map(([worker, metrics]) => ({ worker, metrics })))
  }

  return {
    /** Takes what a member says about metrics: its own, or that it is scraped. */
    hear(name: string, worker: Worker, report: Exclude<Report, { type: 'serving' }>): void {
      if (report.type === 'measured') {
        questions.get(report.question)?.(name, report.metrics)
        return
      }
      const answer = (text: string) => {
        const order: Order = { type: 'scraped', question: report.question, text }
        if (worker.isConnected()) worker.send(order)
      }
      // Where it fails, the member that asked passes its deadline, and the scrape fails.
      gather().then(answer, () => undefined)
    },
  }
}
