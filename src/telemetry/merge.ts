import { type Histogram, Registry } from 'prom-client'

/** The metrics of one process, as prom-client gives them. */
export type Snapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

/**
 * Puts the metrics of several processes into one text: each sample gets the label `worker`. They are not added up here:
 * a counter that is part of a sum would fall when its process is replaced, and look like one that began anew.
 */
export function mergeSnapshots(snapshots: { worker: string; metrics: Snapshot }[]): Promise<string> {
  const merged = new Map<string, { name: string; help: string; type: unknown; values: object[] }>()
  for (const { worker, metrics } of snapshots) {
    for (const { name, help, type, values } of metrics as (Snapshot[number] & {
      values?: { labels: object }[]
    })[]) {
      const metric = merged.get(name) ?? { name, help, type, values: [] }
      merged.set(name, metric)
      for (const value of values ?? []) metric.values.push({ ...value, labels: { ...value.labels, worker } })
    }
  }
  const registry = new Registry()
  for (const metric of merged.values()) {
    // A registry asks no more of a metric than its name and `get`.
    registry.registerMetric({ ...metric, get: async () => metric } as unknown as Histogram)
  }
  return registry.metrics()
}
