/** Times that the deadlines are looked at while one runs: a request may take this part longer. */
const looksPerDeadline = 20

/** Gives what `work` gives, or what `late` gives when that takes too long; `work` goes on all the same. */
export type Within = <Result>(work: Promise<Result>, late: () => Result) => Promise<Result>

/** A request under way, in a list of which it can take itself out. */
interface UnderWay {
  passesAt: number
  pass: (() => void) | undefined
  before: UnderWay
  after: UnderWay
}

/**
 * Makes the deadline of requests. All of them are equally far away, so they pass in the order in which they were set:
 * one interval looks at the oldest, instead of a timer for each request.
 *
 * They are linked, and lead nowhere once they are out of the list. In a Set, whose tables V8 replaces as they fill, the
 * tables that were thrown away held every request until the next full garbage collection: a third of all CPU time.
 */
export function createDeadline(timeoutMs: number): Within {
  // Stands before the oldest and after the newest.
  const ends = {} as UnderWay
  ends.before = ends
  ends.after = ends
  let interval: NodeJS.Timeout | undefined

  function add(pass: () => void): UnderWay {
    const request = { passesAt: performance.now() + timeoutMs, pass, before: ends.before, after: ends }
    ends.before.after = request
    ends.before = request
    interval ??= setInterval(look, timeoutMs / looksPerDeadline).unref()
    return request
  }

  function remove(request: UnderWay): void {
    request.before.after = request.after
    request.after.before = request.before
    request.before = request
    request.after = request
    request.pass = undefined
  }

  function look(): void {
    const now = performance.now()
    while (ends.after !== ends && ends.after.passesAt <= now) {
      const { pass } = ends.after
      remove(ends.after)
      pass?.()
    }
    if (ends.after !== ends) return
    clearInterval(interval)
    interval = undefined
  }

  return (work, late) =>
    new Promise((resolve, reject) => {
      const request = add(() => resolve(late()))
      work.then(
        (result) => {
          remove(request)
          resolve(result)
        },
        (error) => {
          remove(request)
          reject(error)
        },
      )
    })
}
