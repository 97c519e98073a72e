import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { buildApp } from './app.ts'
import { migrateDatabase } from './db/migrate.ts'
import { openDeps } from './deps.ts'
import { createDomains } from './domains.ts'
import type { Env } from './env.ts'
import { createDrain } from './http/drain.ts'
import { createHttpServer } from './http/server.ts'
import { createEntrance } from './http/starting.ts'
import { createLog } from './log.ts'
import type { Membership } from './member.ts'
import { untilReady } from './redis/client.ts'
import { startScheduler } from './scheduler.ts'
import { startTracing } from './telemetry/otlp.ts'
import { noticeRedisRestart, startWorker } from './worker.ts'

/** A stop keeps connections without a request for this part of its time, and for this long at most, ms. */
const idlePart = 1 / 4
const maxIdleGraceMs = 1000

/**
 * Runs the service in this process, with the roles of `env`, until `stop` is aborted; then it ends gracefully. As a
 * member of a fleet it tells its supervisor when it serves, and listens only for the API.
 * @throws what keeps it from starting: a port that is taken, a store that is out of reach
 */
export async function runService(env: Env, stop: AbortSignal, membership?: Membership): Promise<void> {
  const endpoint = env.OTEL_EXPORTER_OTLP_ENDPOINT
  const traces = endpoint === undefined ? undefined : await startTracing(endpoint)
  const log = membership
    ? createLog(env.LOG_LEVEL).child({ worker: membership.name })
    : createLog(env.LOG_LEVEL)
  const opened = openDeps(env, { log, ...(traces && { tracing: traces.tracing }) })
  membership?.measuredBy(opened.metrics.snapshot)
  const deps = membership ? { ...opened, metrics: { ...opened.metrics, scrape: membership.scrape } } : opened

  let isServing = false
  const domains = createDomains(deps)
  const isListening = !membership || env.ROLES.includes('api')
  const app = buildApp(deps, () => isServing, env.ROLES.includes('api') ? domains : undefined)
  const entrance = createEntrance(app, deps)
  const server = createHttpServer(entrance, deps.newRequestId)
  const drain = createDrain(server)

  try {
    if (isListening) {
      server.listen(env.PORT, env.HOST)
      await once(server, 'listening')
    }
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
  entrance.open()
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  log.info({ roles: env.ROLES, port }, membership ? 'member serving' : 'serving')
  membership?.serving(port)

  if (!stop.aborted) await once(stop, 'abort')
  log.info({ signal: stop.reason }, 'stopping')

  // Unready first, so that nobody sends more; then what is under way is finished, its commits included, while both
  // stores are still there; the stores come last.
  isServing = false
  const overdue = setTimeout(() => {
    log.error('graceful stop took too long')
    process.exit(1)
  }, env.SHUTDOWN_TIMEOUT_MS)
  drain.begin()
  // A member that is replaced has successors on the same port: there is nothing for a balancer to notice.
  if (isListening && stop.reason !== 'replaced') await pause(env.SHUTDOWN_DELAY_MS)
  if (isListening) await drain.close(Math.min(maxIdleGraceMs, idlePart * env.SHUTDOWN_TIMEOUT_MS))
  await Promise.all([stopWorker?.(), stopScheduler?.()])
  await domains.drain()
  await deps.close()
  await traces?.close()
  clearTimeout(overdue)
  log.info('stopped')
}
