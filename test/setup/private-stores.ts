import * as stores from '../../scripts/embedded/private-stores.ts'

export type { PrivateStore } from '../../scripts/embedded/private-stores.ts'
export { startPrivateRedis } from '../../scripts/embedded/private-stores.ts'

/**
 * What the stores of tests are run with. Only the safety against a crash of the machine is given up, which no test
 * causes: a killed Postgres still has everything it has acknowledged, from the page cache.
 */
export const testPostgresSettings = {
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '128MB',
  max_connections: '300',
} as const

/**
 * A Postgres of the test's own, for faults that would disturb other tests.
 * @param options.settings server settings over those of `testPostgresSettings`
 */
export function startPrivatePostgres(
  options: { settings?: Readonly<Record<string, string>> } = {},
): Promise<stores.PrivateStore> {
  return stores.startPrivatePostgres({ settings: { ...testPostgresSettings, ...options.settings } })
}
