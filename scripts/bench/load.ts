import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { FromGenerator, Job, Outcome, ToGenerator } from './generator.ts'

/** Beyond the time that a job takes by itself: a request that nobody answers must not hold up the run for ever. */
const GRACE_MS = 60_000

export type Generator = {
  readonly pid: number
  /**
   * Runs the warm-up of a job, calls `atStart` when its last answer is there, and then measures.
   * @throws when the generator ends or takes a minute longer than the job
   */
  run(job: Job, atStart: () => Promise<void>): Promise<Outcome>
  stop(): Promise<void>
}

/** Starts the load generator as a process that takes one job after the other, so that its code is warm for all. */
export function startGenerator(): Generator {
  const child = fork(join(import.meta.dirname, 'generator.ts'), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const tell = (message: ToGenerator) => child.send(message)
  const heard = async (within: number): Promise<FromGenerator> => {
    const heardIt = new AbortController()
    const signal = AbortSignal.any([AbortSignal.timeout(within), heardIt.signal])
    const ended = once(child, 'exit', { signal }).then(() => {
      throw new Error('the load generator ended')
    })
    try {
      const [message] = await Promise.race([once(child, 'message', { signal }), ended])
      return message as FromGenerator
    } finally {
      heardIt.abort()
    }
  }
  return {
    pid: child.pid ?? 0,
    async run(job, atStart) {
      tell({ job })
      await heard(job.warmUpMs + GRACE_MS)
      await atStart()
      tell({ go: true })
      const message = await heard(job.measureMs + GRACE_MS)
      if ('outcome' in message) return message.outcome
      throw new Error('the load generator measured nothing')
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.disconnect()
      await exited
    },
  }
}
