import type { Histogram, Registry } from 'prom-client'

/**
 * Counters and histograms for hot paths. prom-client builds and hashes an object of labels at each observation; here the
 * labels are bound once, and an observation only adds numbers. Registry, text format and default metrics are its own.
 */

export interface MetricName<Label extends string> {
  name: string
  help: string
  labels: readonly Label[]
}

interface Sample {
  labels: Record<string, string | number>
  value: number
  metricName?: string
}

type Values<Label extends string> = Record<Label, string>

/** Registers a counter. Gives the function that binds labels to a series; that one adds to the series, 1 by default. */
export function addCounter<Label extends string>(registry: Registry, metric: MetricName<Label>) {
  const samples: Sample[] = []
  register(registry, metric, 'counter', () => samples)
  return (labels: Values<Label>): ((count?: number) => void) => {
    const sample: Sample = { labels, value: 0 }
    samples.push(sample)
    return (count = 1) => {
      sample.value += count
    }
  }
}

/**
 * Registers a histogram with these upper bounds, ascending. Gives the function that binds labels to a series; that one
 * observes a value.
 */
export function addHistogram<Label extends string>(
  registry: Registry,
  metric: MetricName<Label>,
  bounds: readonly number[],
) {
  const all: { labels: Values<Label>; counts: Float64Array; sum: number }[] = []
  register(registry, metric, 'histogram', () =>
    all.flatMap(({ labels, counts, sum }) => {
      let count = 0
      const buckets = [...bounds, '+Inf'].map((le, index): Sample => {
        count += counts[index] ?? 0
        return { metricName: `${metric.name}_bucket`, labels: { ...labels, le }, value: count }
      })
      return [
        ...buckets,
        { metricName: `${metric.name}_sum`, labels, value: sum },
        { metricName: `${metric.name}_count`, labels, value: count },
      ]
    }),
  )
  return (labels: Values<Label>): ((value: number) => void) => {
    const series = { labels, counts: new Float64Array(bounds.length + 1), sum: 0 }
    all.push(series)
    return (value) => {
      let bucket = 0
      while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++
      series.counts[bucket] = (series.counts[bucket] as number) + 1
      series.sum += value
    }
  }
}

/**
 * Registers a metric whose values are read when it is scraped. What `read` leaves out is absent; it must not fail, or
 * the whole scrape does.
 */
export function addReadout<Label extends string>(
  registry: Registry,
  type: 'gauge' | 'counter',
  metric: MetricName<Label>,
  read: () => [Values<Label>, number][] | Promise<[Values<Label>, number][]>,
): void {
  register(registry, metric, type, async () =>
    (await read()).map(([labels, value]): Sample => ({ labels, value })),
  )
}

function register(
  registry: Registry,
  { name, help, labels }: MetricName<string>,
  type: 'counter' | 'gauge' | 'histogram',
  read: () => Sample[] | Promise<Sample[]>,
): void {
  const metric = {
    name,
    help,
    labelNames: labels,
    type,
    aggregator: 'sum',
    reset: () => undefined,
    get: async () => ({ name, help, type, aggregator: 'sum', values: await read() }),
  }
  // A registry asks no more of a metric than its name and `get`; its types know only the classes of prom-client.
  registry.registerMetric(metric as unknown as Histogram)
}
