import { Unavailable } from './errors.ts'
import type { Order, Report } from './fleet.ts'
import type { Snapshot } from './telemetry/merge.ts'

/** How long a scrape waits for the metrics of all members, ms: the supervisor waits less for each. */
const scrapeDeadlineMs = 4000

/** The side of a member in its talk with the supervisor. */
export interface Membership {
  name: string
  /** Tells that it serves; `port` is undefined when it does not listen. */
  serving(port: number | undefined): void
  /** The metrics of all members, as text. @throws Unavailable when they do not come in time */
  scrape(): Promise<string>
  /** Gives the supervisor the metrics of this member whenever it asks. */
  measuredBy(snapshot: () => Promise<Snapshot>): void
}

/** Joins the fleet of the supervisor that started this process; `stop` is aborted when it says so. */
export function joinFleet(name: string, stop: AbortController): Membership {
  const scrapes = new Map<number, (text: string) => void>()
  let asked = 0
  let snapshot: (() => Promise<Snapshot>) | undefined

  const tell = (report: Report) => {
    if (process.connected) process.send?.(report)
  }
  process.on('message', (order: Order) => {
    switch (order.type) {
      case 'stop':
        return stop.abort(order.replaced ? 'replaced' : 'stop')
      case 'scraped':
        scrapes.get(order.question)?.(order.text)
        return undefined
      case 'measure':
        // A member that cannot tell is left out.
        return void snapshot?.().then(
          (metrics) => tell({ type: 'measured', question: order.question, metrics }),
          () => undefined,
        )
    }
  })

  return {
    name,
    serving: (port) => tell({ type: 'serving', port }),
    measuredBy(ask) {
      snapshot = ask
    },
    async scrape() {
      const question = ++asked
      const { promise, resolve, reject } = Promise.withResolvers<string>()
      scrapes.set(question, resolve)
      const timer = setTimeout(() => reject(new Unavailable('the metrics are late')), scrapeDeadlineMs)
      tell({ type: 'scrape', question })
      try {
        return await promise
      } finally {
        clearTimeout(timer)
        scrapes.delete(question)
      }
    },
  }
}
