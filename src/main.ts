import { once } from 'node:events'
import type { Server } from 'node:http'
import { buildApp } from './app.ts'
import { migrateDatabase } from './db/migrate.ts'
import { openDeps } from './deps.ts'
import { createDomains } from './domains.ts'
import { EnvError, readEnv } from './env.ts'
import { createHttpServer } from './http/server.ts'
import { untilReady } from './redis/client.ts'
import { startScheduler } from './scheduler.ts'
import { startTracing } from './telemetry/otlp.ts'
import { noticeRedisRestart, startWorker } from './worker.ts'

/** Runs the program until SIGTERM or SIGINT. Gives the exit code. */
async function main(): Promise<number> {
  const env = readEnv()
  const endpoint = env.OTEL_EXPORTER_OTLP_ENDPOINT
  const traces = endpoint === undefined ? undefined : await startTracing(endpoint)
  const deps = openDeps(env, traces && { tracing: traces.tracing })
  const { log } = deps
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort(signal))

  let isServing = false
  const domains = createDomains(deps)
  const app = buildApp(deps, () => isServing, env.ROLES.includes('api') ? domains : undefined)
  const server = createHttpServer(app)

  try {
    server.listen(env.PORT, env.HOST)
    await once(server, 'listening')
    await migrateDatabase(env.DATABASE_URL, env.DATABASE_TIMEOUT_MS)
    await untilReady(deps.redis, env.REDIS_TIMEOUT_MS)
    await noticeRedisRestart(deps, domains.recoveries)
  } catch (error) {
    server.close()
    await deps.close()
    throw error
  }

  const stopWorker = env.ROLES.includes('worker') ? startWorker(deps, domains.recoveries) : undefined
  const stopScheduler = env.ROLES.includes('scheduler') ? startScheduler(deps, domains) : undefined
  if (env.ROLES.includes('worker')) domains.outbox.startRelay()
  isServing = true
  const address = server.address()
  log.info({ roles: env.ROLES, port: typeof address === 'object' ? address?.port : address }, 'serving')

  if (!stop.signal.aborted) await once(stop.signal, 'abort')
  log.info({ signal: stop.signal.reason }, 'stopping')

  // Unready first, so that nobody sends more; then what is under way is finished, its commits included, while both
  // stores are still there; the stores come last.
  isServing = false
  const overdue = setTimeout(() => {
    log.error('graceful stop took too long')
    process.exit(1)
  }, env.SHUTDOWN_TIMEOUT_MS)
  await closeServer(server)
  await Promise.all([stopWorker?.(), stopScheduler?.()])
  await domains.drain()
  await deps.close()
  await traces?.close()
  clearTimeout(overdue)
  log.info('stopped')
  return 0
}

/** Stops accepting, and resolves when the last answer is out. Kept-alive connections are closed as they fall idle. */
async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const sweep = setInterval(() => server.closeIdleConnections(), 50)
  await closed
  clearInterval(sweep)
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
