/** Something to wait for that may come at any time, also before anybody waits. Many raises are one. */
export interface Signal {
  raise(): void
  /** Forgets what was raised: whoever calls it looks for itself from here on. */
  reset(): void
  /** Resolves at the next raise, at once if there was one since the last reset, and after `ms` at the latest. */
  wait(ms: number): Promise<void>
}

/** Makes a signal for one waiter. */
export function createSignal(): Signal {
  let isRaised = false
  let wake: (() => void) | undefined
  return {
    raise() {
      isRaised = true
      wake?.()
    },
    reset() {
      isRaised = false
    },
    async wait(ms) {
      if (isRaised) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, ms)
      wake = resolve
      await promise
      clearTimeout(timer)
      wake = undefined
    },
  }
}
