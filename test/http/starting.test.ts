import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { readEnv } from '../../src/env.ts'
import { runService } from '../../src/service.ts'
import { adminToken, createDatabase, until } from '../setup/harness.ts'

/** The lock that processes take turns by as they migrate. */
const migrationLock = 5_031_126

let database: Awaited<ReturnType<typeof createDatabase>>
let sql: postgres.Sql
beforeEach(async () => {
  database = await createDatabase(inject('databaseUrl'))
  sql = postgres(database.url, { max: 1 })
})
afterEach(async () => {
  await sql.end()
  await database.drop()
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

describe('while the service starts', () => {
  it('[ALL-3, ALL-4] what asks the stores is 503, and served once the database is migrated', async () => {
    await sql`select pg_advisory_lock(${migrationLock})`
    const port = await freePort()
    const stop = new AbortController()
    const env = readEnv({
      LOG_LEVEL: 'silent',
      HOST: '127.0.0.1',
      PORT: String(port),
      ADMIN_TOKEN: adminToken,
      DATABASE_URL: database.url,
      REDIS_URL: inject('redisUrl'),
      DATABASE_TIMEOUT_MS: '30000',
    })
    const running = runService(env, stop.signal)
    const ask = (path: string, method = 'GET', headers: Record<string, string> = {}) =>
      fetch(`http://127.0.0.1:${port}${path}`, { method, headers })
    await until('the port', () =>
      ask('/livez')
        .then(({ status }) => status === 200)
        .catch(() => false),
    )

    const id = { 'X-Request-Id': 'mine' }
    for (const [method, path] of [
      ['GET', '/v1/products'],
      ['GET', '/v1/users/0/balance'],
      ['POST', '/v1/orders'],
      ['POST', '/v1/admin/products'],
      ['GET', '/v1/nothing'],
    ] as const) {
      const response = await ask(path, method, id)
      expect([response.status, response.headers.get('retry-after')], path).toEqual([503, '1'])
      expect(await response.json()).toMatchObject({ code: 'UNAVAILABLE', instance: path, requestId: 'mine' })
    }
    const open = ['/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/swagger-ui.css']
    const statuses = await Promise.all(open.map(async (path) => (await ask(path)).status))
    expect(statuses).toEqual([200, 503, 200, 200, 200, 200])

    await sql`select pg_advisory_unlock(${migrationLock})`
    await until('the service', async () => (await ask('/readyz')).status === 200)
    expect((await ask('/v1/products')).status).toBe(200)
    expect((await ask('/v1/nothing')).status).toBe(404)
    stop.abort()
    await running
  })
})
