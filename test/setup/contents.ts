import { expect } from 'vitest'
import type { Harness } from './harness.ts'

/** Claims of calls with a key: they run out by themselves, and stand for no effect. */
const shortLived = /^idempotency:/

/** Everything that both stores hold, by table and by key, to be compared. */
export async function contentsOf({ sql, redis }: Harness): Promise<Record<string, unknown>> {
  const contents: Record<string, unknown> = {}
  const tables = await sql`select table_name as name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE'`
  for (const { name } of tables) {
    const rows = await sql`select t::text as row from ${sql(name)} t order by 1`
    contents[name] = rows.map(({ row }) => row)
  }
  for (const key of await redis.keys('*')) {
    if (shortLived.test(key)) continue
    contents[key] = await readKey(redis, key)
  }
  return contents
}

async function readKey(redis: Harness['redis'], key: string): Promise<unknown> {
  const type = await redis.type(key)
  switch (type) {
    case 'string':
      return redis.get(key)
    case 'hash':
      return redis.hgetall(key)
    case 'zset':
      return redis.zrange(key, '0', '-1', 'WITHSCORES')
    case 'list':
      return redis.lrange(key, 0, -1)
    default:
      throw new Error(`${key} is a ${type}, which nobody here writes`)
  }
}

/** Does something that must leave both stores as they are (ALL-3). Gives what it gave. */
export async function changingNothing<Result>(harness: Harness, act: () => Promise<Result>): Promise<Result> {
  const before = await contentsOf(harness)
  const result = await act()
  expect(await contentsOf(harness)).toEqual(before)
  return result
}
