import { mastersOf, type RedisClient } from '../../src/redis/client.ts'

/** The keys of a pattern, from every server that holds keys. */
export async function allKeys(redis: RedisClient, pattern: string): Promise<string[]> {
  return (await Promise.all(mastersOf(redis).map((master) => master.keys(pattern)))).flat().sort()
}
