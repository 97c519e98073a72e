import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readEnv } from '../../src/env.ts'
import { type Harness, startHarness, until } from '../setup/harness.ts'
import { startServer } from '../setup/server.ts'
import { badTokens, claimsOf, goodToken, secret } from '../setup/tokens.ts'

const secrets = {
  admin: 'recognisable-admin-token',
  database: 'recognisable-database-password',
  redis: 'recognisable-redis-password',
  jwt: secret,
  jwks: 'recognisable-issuer-password',
  sent: 'recognisable-token-of-a-caller',
}

let harness: Harness
let on: { database: string; redis: string }
/** Accounts of this test alone, in both stores, whose passwords are recognisable. */
const account = `secrets_${Date.now()}`

beforeAll(async () => {
  harness = await startHarness()
  await harness.sql.unsafe(`create role ${account} login superuser password '${secrets.database}'`)
  await harness.redis.call('ACL', 'SETUSER', account, 'on', `>${secrets.redis}`, '~*', '&*', '+@all')
  on = {
    database: withPassword(harness.on.database, secrets.database, account),
    redis: withPassword(harness.on.redis, secrets.redis, account),
  }
})
afterAll(async () => {
  await harness.redis.call('ACL', 'DELUSER', account)
  await harness.sql.unsafe(`reassign owned by ${account} to current_user`)
  await harness.sql.unsafe(`drop owned by ${account}`)
  await harness.sql.unsafe(`drop role ${account}`)
  await harness.stop()
})

/** Puts an account and its password into a URL. */
function withPassword(text: string, password: string, user: string): string {
  const url = new URL(text)
  url.username = user
  url.password = password
  return url.href
}

function expectNoSecret(text: string): void {
  expect(text.length).toBeGreaterThan(20)
  for (const [name, value] of Object.entries(secrets))
    expect(text.includes(value), `${name}: ${text}`).toBe(false)
  expect(text, 'a token').not.toMatch(/eyJ[\w-]+\.eyJ/)
}

const env = { ADMIN_TOKEN: secrets.admin, AUTH_JWT_SECRET: secrets.jwt, LOG_LEVEL: 'trace' }

/** Everything that a process says which does not come to serve. */
async function outputOfFailedStart(stores: typeof on, more: Record<string, string> = {}): Promise<string> {
  const { message } = await startServer(stores, {
    ...env,
    DATABASE_TIMEOUT_MS: '500',
    REDIS_TIMEOUT_MS: '500',
    ...more,
  }).then(
    async (server) => {
      await server.kill('SIGKILL')
      throw new Error('the server started')
    },
    (error: Error) => error,
  )
  expect(message).toMatch(/the server stopped/)
  return message
}

describe('secrets are not in what a process says that cannot start', () => {
  it('because settings are wrong', async () => {
    const output = await outputOfFailedStart(
      { database: `mysql://app:${secrets.database}@db/shop`, redis: `redis//:${secrets.redis}@cache` },
      {
        PORT: secrets.sent,
        AUTH_JWKS_URL: `https://app:${secrets.jwks}@issuer/keys`,
        CORS_ORIGINS: `https://app:${secrets.jwks}@shop.example`,
      },
    )
    expectNoSecret(output)
    for (const name of ['DATABASE_URL', 'REDIS_URL', 'PORT', 'AUTH_JWKS_URL', 'CORS_ORIGINS']) {
      expect(output).toContain(`${name}: `)
    }
  })

  it('because Postgres refuses the user or the database', async () => {
    const user = new URL(on.database)
    user.username = 'nobody_like_that'
    expectNoSecret(await outputOfFailedStart({ ...on, database: user.href }))
    const database = new URL(on.database)
    database.pathname = '/no_such_database'
    expectNoSecret(await outputOfFailedStart({ ...on, database: database.href }))
  })

  it('because Redis refuses the password', async () => {
    const output = await outputOfFailedStart({
      ...on,
      redis: withPassword(harness.on.redis, secrets.redis, 'nobody'),
    })
    expect(output).toContain('WRONGPASS')
    expectNoSecret(output)
  })

  it('because a store is not there', async () => {
    expectNoSecret(
      await outputOfFailedStart({ ...on, database: `postgres://app:${secrets.database}@127.0.0.1:1/shop` }),
    )
    expectNoSecret(await outputOfFailedStart({ ...on, redis: `redis://:${secrets.redis}@127.0.0.1:1` }))
  })
})

it('names no secret where two settings exclude each other', () => {
  const both = { AUTH_JWT_SECRET: secrets.jwt, AUTH_JWKS_URL: `https://app:${secrets.jwks}@issuer/keys` }
  expect(() => readEnv({ DATABASE_URL: on.database, REDIS_URL: on.redis, ...both })).toThrow(
    /^The environment is not valid:\n {2}AUTH_JWKS_URL: must not be set together with AUTH_JWT_SECRET$/,
  )
})

/** Ids of the connections to the database of the tests in Redis, which may have others. */
async function redisClients(): Promise<string[]> {
  const list = String(await harness.redis.call('CLIENT', 'LIST'))
  const database = new URL(harness.on.redis).pathname.slice(1) || '0'
  return list
    .split('\n')
    .filter((line) => line.includes(` name=seonchak `) && line.includes(` db=${database} `))
    .map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '')
}

describe('secrets are neither in the log nor in an answer', () => {
  it('of a server that is refused, fails and loses its stores', async () => {
    const others = new Set(await redisClients())
    const server = await startServer(on, env)
    const own = (await redisClients()).filter((id) => !others.has(id))
    const said: string[] = []
    const ask = async (method: string, path: string, token?: string, body?: unknown) => {
      const response = await fetch(server.url + path, {
        method,
        headers: {
          ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      said.push(JSON.stringify([...response.headers]), await response.text())
      return response.status
    }
    const good = goodToken('secret', claimsOf(1))
    expect(await ask('GET', '/v1/users/1/balance', good)).toBe(200)
    for (const token of [undefined, secrets.sent, secrets.admin, ...Object.values(badTokens('secret', 1))]) {
      expect(await ask('GET', '/v1/users/1/balance', token)).toBe(401)
    }
    for (const token of [undefined, secrets.sent, good]) {
      expect(await ask('POST', '/v1/admin/products', token, {})).toBe(401)
    }
    expect(await ask('POST', '/v1/admin/products', secrets.admin, { name: 1 })).toBe(400)

    await harness.sql`alter table user_balances rename to user_balances_away`
    expect(await ask('GET', '/v1/users/1/balance', good)).toBe(500)
    expect(await ask('POST', '/v1/users/1/balance/charge', good, { amount: 10_000 })).toBe(500)
    await harness.sql`alter table user_balances_away rename to user_balances`

    const name = new URL(on.database).pathname.slice(1)
    for (const id of own) await harness.redis.call('CLIENT', 'KILL', 'ID', id)
    await harness.sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = ${name} and application_name like 'seonchak%'`
    await until('the server to have its stores back', async () => (await ask('GET', '/readyz')) === 200)
    expect(await ask('GET', '/metrics')).toBe(200)
    expect(await ask('GET', '/openapi.json')).toBe(200)
    await server.kill('SIGTERM')

    const log = server.lines.join('\n')
    expect(log).toContain('"request failed"')
    expectNoSecret(log)
    expectNoSecret(said.join('\n'))
  })
})
