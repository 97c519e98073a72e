import { pino } from 'pino'
import { expect, inject, it } from 'vitest'
import { openRedis, untilReady } from '../../src/redis/client.ts'
import { until } from '../setup/harness.ts'
import { openProxy } from '../setup/store-proxy.ts'

const timeoutMs = 200

/** A client behind a network of its own. */
async function connectThroughProxy() {
  const proxy = await openProxy(inject('redisUrl'))
  const log = pino({ level: 'silent' })
  const redis = openRedis({ url: proxy.url, timeoutMs, connectionName: 'silence', scripts: [], log })
  await untilReady(redis, 10_000)
  return {
    redis,
    proxy,
    async close() {
      redis.disconnect()
      await proxy.close()
    },
  }
}

it('[ALL-4] a connection that has fallen silent is replaced; one that has nothing to say is not', async () => {
  const [silent, idle] = [await connectThroughProxy(), await connectThroughProxy()]
  silent.proxy.silenceOpen()
  await expect(silent.redis.ping()).rejects.toThrow('Command timed out')
  await until('another connection', () => silent.redis.ping().then(Boolean, () => false))
  expect(silent.proxy.sent().length).toBe(2)
  // Longer than the deadline has passed since it was last asked something.
  expect(await idle.redis.ping()).toBe('PONG')
  expect(idle.proxy.sent().length).toBe(1)
  await Promise.all([silent.close(), idle.close()])
})
