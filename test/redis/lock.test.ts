import { pino } from 'pino'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { openRedis, type RedisClient, untilReady } from '../../src/redis/client.ts'
import { createLocks } from '../../src/redis/lock.ts'
import { until } from '../setup/harness.ts'

const log = pino({ level: 'silent' })
const ttlMs = 600
let redis: RedisClient
beforeAll(async () => {
  redis = openRedis({
    url: inject('redisUrl'),
    timeoutMs: 5000,
    connectionName: 'locks',
    scripts: [],
    log,
  })
  await untilReady(redis, 10_000)
})
afterAll(() => redis.disconnect())

/** Takes the lock for a job that ends when it is told so. */
function hold(key: string, longestRunMs?: number) {
  const end = Promise.withResolvers<void>()
  const began = Promise.withResolvers<AbortSignal>()
  const ran = createLocks(redis, log, longestRunMs).tryWith(key, ttlMs, (lost) => {
    began.resolve(lost)
    return end.promise
  })
  return { lost: began.promise, end: () => end.resolve(), ran }
}
const tryToRun = (key: string) => createLocks(redis, log).tryWith(key, ttlMs, async () => undefined)

it('[ALL-4] a lock is renewed while its job runs, and free after it', async () => {
  const { lost, end, ran } = hold('lock of a long job')
  const startedAt = performance.now()
  const signal = await lost
  let tries = 0
  while (performance.now() - startedAt < 3 * ttlMs) {
    expect(await tryToRun('lock of a long job')).toBe(false)
    tries++
  }
  expect(tries).toBeGreaterThan(0)
  expect(signal.aborted).toBe(false)
  end()
  expect(await ran).toBe(true)
  expect(await tryToRun('lock of a long job')).toBe(true)
})

it('[ALL-4] a job that hangs loses its lock in the end: others do its work, and it is told', async () => {
  const { lost, end, ran } = hold('lock of a hanging job', 2 * ttlMs)
  const signal = await lost
  expect(await tryToRun('lock of a hanging job')).toBe(false)
  await until('the lock', () => tryToRun('lock of a hanging job'))
  expect(signal.aborted).toBe(true)
  end()
  expect(await ran).toBe(true)
})
