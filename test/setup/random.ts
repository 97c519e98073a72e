/** Random choices that a seed repeats (mulberry32). */
export function seeded(seed: number) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    /** a whole number from 0 to `limit - 1` */
    below: (limit: number) => Math.floor(next() * limit),
    shuffle<Item>(items: readonly Item[]): Item[] {
      const shuffled = [...items]
      for (let at = shuffled.length - 1; at > 0; at--) {
        const other = Math.floor(next() * (at + 1))
        ;[shuffled[at], shuffled[other]] = [shuffled[other] as Item, shuffled[at] as Item]
      }
      return shuffled
    },
  }
}
