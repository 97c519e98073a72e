import cluster from 'node:cluster'
import { EnvError, readEnv } from './env.ts'
import { rolesOf } from './fleet.ts'
import { createLog } from './log.ts'
import { joinFleet } from './member.ts'
import { runService } from './service.ts'
import { supervise } from './supervisor.ts'

/** Runs the program until SIGTERM or SIGINT. Gives the exit code. */
async function main(): Promise<number> {
  const env = readEnv()
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort(signal))

  // Only a supervisor has something to do on it; for all others its default would be the end.
  if (cluster.isWorker || env.WORKERS === 1) process.on('SIGUSR2', () => undefined)
  if (cluster.isWorker) {
    const name = process.argv[2] as string
    const membership = joinFleet(name, stop)
    await runService({ ...env, ROLES: rolesOf(name, env.ROLES) }, stop.signal, membership)
    return 0
  }
  if (env.WORKERS > 1) {
    return supervise(env, createLog(env.LOG_LEVEL), stop.signal, (roll) => process.on('SIGUSR2', roll))
  }
  await runService(env, stop.signal)
  return 0
}

/** What went wrong at start, in a line or two. */
function explain(error: unknown): string {
  if (error instanceof EnvError) return error.message
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && error.code === 'EADDRINUSE') {
    return `Port ${'port' in error ? error.port : ''} is taken. Set PORT to another.`
  }
  return `seonchak cannot start: ${error.message || ('code' in error ? error.code : error.name)}`
}

try {
  // Not by running out of things to do: a store that fell silent can leave a socket behind that never closes.
  process.exit(await main())
} catch (error) {
  console.error(explain(error))
  process.exit(1)
}
