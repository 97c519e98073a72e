/** How a post was let through. Exactly one of the three ends it. */
export interface Pass {
  /** the one post that finds out whether the platform is back */
  isProbe: boolean
  /** The platform took what was posted, or at least judged it. */
  succeeded(): void
  /** The platform is away. */
  failed(): void
  /** There was nothing to post. */
  unused(): void
}

export interface Breaker {
  readonly state: 'closed' | 'open' | 'half-open'
  /** Lets a post through, or not: while the breaker is open, and while a probe is under way. */
  admit(): Pass | undefined
}

/**
 * Makes a circuit breaker: after `threshold` failures in a row it lets nothing through for `openMs`, then one probe,
 * whose end closes it or opens it again. It is asked before there is anything to post, which is why it is no wrapper
 * around a call: while it is open, events must not be claimed.
 * @param options.openMs how long to stay open for the `times`th time in a row (from 1), ms
 * @param options.now monotonic clock, ms
 * @param options.onOpen told each time that it opens, with the time until a probe may go, ms
 * @param options.onClose told when a probe has closed it
 */
export function createBreaker(options: {
  threshold: number
  openMs(times: number): number
  now(): number
  onOpen(ms: number): void
  onClose(): void
}): Breaker {
  const { threshold, openMs, now, onOpen, onClose } = options
  let state: Breaker['state'] = 'closed'
  let failures = 0
  let timesOpened = 0
  let openUntil = 0

  function open(): void {
    const ms = openMs(++timesOpened)
    state = 'open'
    openUntil = now() + ms
    onOpen(ms)
  }

  const post: Pass = {
    isProbe: false,
    // One that was let through before the breaker opened has no say in it any more: the probe decides.
    succeeded() {
      if (state === 'closed') failures = 0
    },
    failed() {
      if (state === 'closed' && ++failures >= threshold) open()
    },
    unused: () => undefined,
  }

  const probe: Pass = {
    isProbe: true,
    succeeded() {
      state = 'closed'
      failures = 0
      timesOpened = 0
      onClose()
    },
    failed: open,
    unused() {
      state = 'open'
    },
  }

  return {
    get state() {
      return state
    },
    admit() {
      if (state === 'closed') return post
      if (state === 'half-open' || now() < openUntil) return undefined
      state = 'half-open'
      return probe
    },
  }
}
