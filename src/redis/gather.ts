/**
 * Makes a function that joins the calls of one turn of the event loop which concern the same thing, and runs them
 * together: a script call costs the service and Redis more than what it does, so those that come together share one.
 * No timer, and no call waits for another that has not come yet.
 * @param maxCalls calls of one run; what comes on top runs beside it
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

  async function runTogether(about: About, together: Waiting[]): Promise<void> {
    try {
      const answers = await run(
        about,
        together.map(({ call }) => call),
      )
      for (const [index, { resolve }] of together.entries()) resolve(answers[index] as Answer)
    } catch (error) {
      for (const { reject } of together) reject(error)
    }
  }

  function runAll(): void {
    const all = waiting
    waiting = new Map()
    for (const [about, calls] of all) {
      for (let from = 0; from < calls.length; from += maxCalls) {
        void runTogether(about, calls.slice(from, from + maxCalls))
      }
    }
  }

  return (about, call) =>
    new Promise((resolve, reject) => {
      if (waiting.size === 0) setImmediate(runAll)
      const calls = waiting.get(about)
      if (calls) calls.push({ call, resolve, reject })
      else waiting.set(about, [{ call, resolve, reject }])
    })
}
