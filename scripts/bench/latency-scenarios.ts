import { type Comparison, compare, type Scenario, SERVICE } from './scenario.ts'

/**
 * A comparison at half of the rate that the service reaches in it: requests arrive at that rate whatever was answered,
 * first at the bare handler, then at the service.
 */
export function atHalfRate(name: string, of: Comparison): Scenario {
  const { open } = compare({ ...of, isCommitted: false })
  return {
    name,
    about: `${of.name} at half of its highest rate, arriving whatever was answered`,
    async open(bench) {
      const { targets } = await open(bench)
      const service = targets.find((target) => target.name === SERVICE)
      if (!service) throw new Error(`${of.name} has no service`)
      const highest = await bench.probe(service)
      const rate = Math.max(1, Math.floor(highest / 2))
      return {
        targets: targets.map((target) => ({ ...target, rate })),
        notes: { 'highest rate, requests/s': highest },
      }
    },
  }
}
