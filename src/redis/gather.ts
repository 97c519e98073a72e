/**
 * Makes a function that joins the calls of one turn of the event loop which concern the same thing, and runs them
 * together: a script call costs the service and Redis more than what it does, so those that come together share one.
 * No timer, and no call waits for another that has not come yet.
 * @param maxCalls calls of one run. It starts as soon as it has that many, so that Redis works while the rest of a long
 * turn goes on here
 * @param run gives an answer a call, in order; where it throws, each of its calls does
 */
export function gather<About extends number, Call, Answer>(
  maxCalls: number,
  run: (about: About, calls: Call[]) => Promise<Answer[]>,
): (about: About, call: Call) => Promise<Answer> {
  interface Waiting {
    call: Call
    resolve(answer: Answer): void
    reject(error: unknown): void
  }
  let waiting = new Map<About, Waiting[]>()
  let isScheduled = false

  async function runTogether(about: About, together: Waiting[]): Promise<void> {
    try {
      const answers = await run(
        about,
        together.map(({ call }) => call),
      )
      for (let index = 0; index < together.length; index++) {
        ;(together[index] as Waiting).resolve(answers[index] as Answer)
      }
    } catch (error) {
      for (const { reject } of together) reject(error)
    }
  }

  function runAll(): void {
    isScheduled = false
    const all = waiting
    waiting = new Map()
    for (const [about, calls] of all) void runTogether(about, calls)
  }

  return (about, call) =>
    new Promise((resolve, reject) => {
      if (!isScheduled) {
        isScheduled = true
        setImmediate(runAll)
      }
      let calls = waiting.get(about)
      if (!calls) {
        calls = []
        waiting.set(about, calls)
      }
      calls.push({ call, resolve, reject })
      if (calls.length < maxCalls) return
      waiting.delete(about)
      void runTogether(about, calls)
    })
}
