import type { Redis } from 'ioredis'

/** The run id of the Redis process behind the connection: it changes with every start of Redis. */
export async function readRunIds(redis: Redis): Promise<string> {
  const info = await redis.info('server')
  const runId = /^run_id:(\w+)/m.exec(info)?.[1]
  if (runId === undefined) throw new Error('Redis did not tell its run id')
  return runId
}
