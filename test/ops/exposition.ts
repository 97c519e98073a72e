export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

export type Exposed = ReturnType<typeof parseExposition>

/** Reads the text format of Prometheus, strictly: a line that is none of it fails. */
export function parseExposition(text: string) {
  const samples: Sample[] = []
  const types = new Map<string, string>()
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const type = /^# TYPE (\w+) (counter|gauge|histogram|summary)$/.exec(line)
    if (type) types.set(type[1] as string, type[2] as string)
    if (line.startsWith('# ')) continue
    const match = /^([a-z]\w*)(?:\{(.*)\})? (-?[\d.e+-]+|nan|\+Inf)$/i.exec(line)
    if (!match) throw new Error(`not a sample: ${line}`)
    const [, name = '', labels = '', value] = match
    samples.push({
      name,
      labels: Object.fromEntries(
        [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text]),
      ),
      value: Number(value),
    })
  }
  const ids = samples.map(({ name, labels }) => `${name} ${JSON.stringify(Object.entries(labels).sort())}`)
  const twice = ids.filter((id, index) => ids.indexOf(id) !== index)
  if (twice.length > 0) throw new Error(`samples that are there twice: ${twice.join(', ')}`)

  return {
    text,
    samples,
    types,
    /** of samples, and of metrics that have none at the moment */
    names: [...new Set([...samples.map(({ name }) => name), ...types.keys()])],
    /** The value of the one sample with exactly these labels. */
    value(name: string, labels: Record<string, string> = {}): number | undefined {
      return samples.find(
        (sample) =>
          sample.name === name &&
          Object.keys(sample.labels).length === Object.keys(labels).length &&
          Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      )?.value
    },
  }
}
