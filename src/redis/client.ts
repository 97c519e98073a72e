import { Cluster, Redis } from 'ioredis'
import type { Logger } from 'pino'
import { readRedisUrl } from './address.ts'
import { askForState, openCluster, untilNodesReady } from './cluster.ts'
import type { ScriptSource } from './script-source.ts'

/** One server, or a cluster: the same commands and scripts, as all keys of one call lie in one slot. */
export type RedisClient = Redis | Cluster

export interface RedisSettings {
  /** one URL, or several of a cluster: see address.ts */
  url: string
  /** deadline of a command, after which a connection that has brought nothing else either is replaced, ms */
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
export function openRedis(settings: RedisSettings): RedisClient {
  const address = readRedisUrl(settings.url)
  const scripts = Object.fromEntries(
    settings.scripts.map((script) => [
      script.name,
      script.variableKeys ? { lua: script.lua } : { lua: script.lua, numberOfKeys: script.keys.length },
    ]),
  )
  if (address.isCluster) return openCluster(address, scripts, settings)
  const redis = new Redis(settings.url, {
    connectionName: settings.connectionName,
    commandTimeout: settings.timeoutMs,
    // A connection that falls silent fails its commands one by one, and stays: the network, not Redis, may have lost it.
    // It goes by commands that wait for an answer, so an idle connection stays.
    socketTimeout: settings.timeoutMs,
    connectTimeout: settings.timeoutMs,
    enableAutoPipelining: true,
    // They are gathered already, and go out at once: a pipeline waits for the next turn and for the one before it.
    autoPipeliningIgnoredCommands: [...settings.scripts.map(({ name }) => name), 'hmget'],
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(50 * times, 1000),
    scripts,
  })
  redis.on('error', (error) => settings.log.warn({ err: error }, 'redis connection'))
  return redis
}

/** The servers that hold the keys: the masters of a cluster as this process knows them, or the one there is. */
export function mastersOf(redis: RedisClient): Redis[] {
  return redis instanceof Cluster ? redis.nodes('master') : [redis]
}

/**
 * Asks whether Redis serves. Of a cluster a part is enough: a process that were not ready for the slots of one master
 * would withhold those of the others. @throws what the connection says when it does not
 */
export async function askRedis(redis: RedisClient): Promise<void> {
  if (redis instanceof Cluster) await askForState(redis)
  else await redis.ping()
}

/** Waits until the connection is up, to every node of a cluster. @throws the connection's error after `timeoutMs` */
export async function untilReady(redis: RedisClient, timeoutMs: number): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs
  if (redis.status !== 'ready') await untilUp(redis, timeoutMs)
  if (redis instanceof Cluster) await untilNodesReady(redis, giveUpAt - performance.now())
}

function untilUp(redis: RedisClient, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let last: Error | undefined
    const onError = (error: Error) => {
      last = error
    }
    const stop = () => {
      clearTimeout(timer)
      redis.off('error', onError).off('node error', onError).off('ready', onReady)
    }
    const onReady = () => {
      stop()
      resolve()
    }
    const timer = setTimeout(() => {
      stop()
      reject(last ?? new Error('Redis did not become ready'))
    }, timeoutMs)
    redis.on('error', onError).on('node error', onError).once('ready', onReady)
  })
}
