import { Redis, ReplyError } from 'ioredis'
import type { Logger } from 'pino'
import type { ScriptSource } from './script-source.ts'

export interface RedisSettings {
  url: string
  /** deadline of a command, ms */
  timeoutMs: number
  connectionName: string
  scripts: ScriptSource[]
  log: Logger
}

/**
 * Opens the connection that all scripts use. It fails fast: no queue while Redis is away, because a queue turns an
 * outage into long hangs; and no sending again after a reconnect, because the caller is told 503 and recovery finds out
 * what the lost command did.
 */
export function openRedis(settings: RedisSettings): Redis {
  const redis = new Redis(settings.url, {
    connectionName: settings.connectionName,
    commandTimeout: settings.timeoutMs,
    connectTimeout: settings.timeoutMs,
    enableAutoPipelining: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(50 * times, 1000),
    scripts: Object.fromEntries(
      settings.scripts.map((script) => [
        script.name,
        script.variableKeys ? { lua: script.lua } : { lua: script.lua, numberOfKeys: script.keys.length },
      ]),
    ),
  })
  redis.on('error', (error) => settings.log.warn({ err: error }, 'redis connection'))
  return redis
}

/** Waits until the connection is up. @throws the connection's error after `timeoutMs` */
export function untilReady(redis: Redis, timeoutMs: number): Promise<void> {
  if (redis.status === 'ready') return Promise.resolve()
  return new Promise((resolve, reject) => {
    let last: Error | undefined
    const onError = (error: Error) => {
      last = error
    }
    const onReady = () => {
      clearTimeout(timer)
      redis.off('error', onError)
      resolve()
    }
    const timer = setTimeout(() => {
      redis.off('error', onError).off('ready', onReady)
      reject(last ?? new Error('Redis did not become ready'))
    }, timeoutMs)
    redis.on('error', onError).once('ready', onReady)
  })
}

/** Replies by which Redis says that it cannot serve now: loading, failing over, read-only, full, or busy. */
const cannotServe =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|MISCONF|NOREPLICAS|BUSY|UNKILLABLE)\b/

/** Whether Redis is out of reach or overdue, so that the request is answered 503 and not 500. */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof ReplyError) return cannotServe.test(error.message)
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    error.name === 'AbortError' ||
    error.name === 'ClusterAllFailedError' ||
    /^(Command timed out|Connection is closed|Stream isn't writeable)/.test(error.message) ||
    ('code' in error && typeof error.code === 'string' && /^(E[A-Z]+|NR_CLOSED)$/.test(error.code))
  )
}
