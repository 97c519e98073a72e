/** Times that the deadlines are looked at while one runs: a request may take this part longer. */
const looksPerDeadline = 20

/** Gives what `work` gives, or what `late` gives when that takes too long; `work` goes on all the same. */
export type Within = <Result>(work: Promise<Result>, late: () => Result) => Promise<Result>

/**
 * Makes the deadline of requests. All of them are equally far away, so they pass in the order in which they were set:
 * one interval looks at the oldest, instead of a timer for each request.
 */
export function createDeadline(timeoutMs: number): Within {
  const underWay = new Set<{ passesAt: number; pass(): void }>()
  let interval: NodeJS.Timeout | undefined

  function look(): void {
    const now = performance.now()
    for (const request of underWay) {
      if (request.passesAt > now) break
      underWay.delete(request)
      request.pass()
    }
    if (underWay.size > 0) return
    clearInterval(interval)
    interval = undefined
  }

  return (work, late) =>
    new Promise((resolve, reject) => {
      const request = { passesAt: performance.now() + timeoutMs, pass: () => resolve(late()) }
      underWay.add(request)
      interval ??= setInterval(look, timeoutMs / looksPerDeadline).unref()
      work.then(
        (result) => {
          underWay.delete(request)
          resolve(result)
        },
        (error) => {
          underWay.delete(request)
          reject(error)
        },
      )
    })
}
