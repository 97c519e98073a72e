import { setTimeout as delay } from 'node:timers/promises'
import { type ServerProcess, spawnServer } from '../embedded/server-process.ts'
import { plainMessage, SetupError, throwIfAborted } from '../embedded/setup-error.ts'

const READY_TIMEOUT_MS = 60_000
const POLL_MS = 50
/**
 * Young space for the requests under way: with the 16 MB that Node takes by itself, those that wait for a store are
 * copied again and again, which cost a quarter of the CPU time. And nothing goes into old space at once: in one process
 * out of five that kept every request alive until the next full collection (docs/benchmarks.md).
 */
const HEAP_FLAGS = [
  '--min-semi-space-size=64',
  '--max-semi-space-size=64',
  '--no-allocation-site-pretenuring',
]

/**
 * Starts a program of ours as a child with this Node and resolves when `GET /readyz` answers 200.
 * @param options.name the program, as the subject of a message
 * @param options.env the whole environment of the program
 * @param options.baseUrl where it is to answer
 * @param options.onSpawn told the process number before the program is ready
 * @throws SetupError START_FAILED with the end of its log when it ends or is not ready within 60 s; ABORTED. It has
 *   then been stopped.
 */
export async function startService(options: {
  name: string
  entry: string
  root: string
  env: NodeJS.ProcessEnv
  baseUrl: string
  logFile: string
  onSpawn: (pid: number) => void
  signal: AbortSignal
}): Promise<ServerProcess> {
  const { name, entry, root, env, baseUrl, logFile, onSpawn, signal } = options
  const service = await spawnServer({
    command: process.execPath,
    args: [...HEAP_FLAGS, entry],
    env,
    cwd: root,
    logFile,
  })
  try {
    onSpawn(service.pid)
    await untilReady(name, service, baseUrl, signal)
    return service
  } catch (error) {
    await service.end('SIGTERM', 5000)
    throw error
  }
}

async function untilReady(
  name: string,
  service: ServerProcess,
  baseUrl: string,
  signal: AbortSignal,
): Promise<void> {
  const end = performance.now() + READY_TIMEOUT_MS
  for (;;) {
    const answer = await readiness(baseUrl)
    throwIfAborted(signal)
    if (service.exit !== undefined) {
      throw new SetupError(
        'START_FAILED',
        `${name} ended at once (${service.exit}); its log ${service.logFile} ends:\n${service.tail()}`,
      )
    }
    if (answer === undefined) return
    if (performance.now() > end) {
      const why = `${name} is not ready after ${READY_TIMEOUT_MS / 1000} s (${answer})`
      throw new SetupError('START_FAILED', `${why}; its log ${service.logFile} ends:\n${service.tail()}`)
    }
    await delay(POLL_MS)
  }
}

/** undefined when ready, else what stands against it */
async function readiness(baseUrl: string): Promise<string | undefined> {
  try {
    const response = await fetch(`${baseUrl}/readyz`, { signal: AbortSignal.timeout(2000) })
    const body = await response.text()
    return response.status === 200 ? undefined : `/readyz answers ${response.status} ${body.slice(0, 200)}`
  } catch (error) {
    return plainMessage(error)
  }
}
