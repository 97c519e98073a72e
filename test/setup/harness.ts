import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import { inject } from 'vitest'
import { buildApp } from '../../src/app.ts'
import { migrateDatabase } from '../../src/db/migrate.ts'
import { type Ambient, openDeps } from '../../src/deps.ts'
import { createDomains } from '../../src/domains.ts'
import { type Env, readEnv } from '../../src/env.ts'
import { untilReady } from '../../src/redis/client.ts'
import { noticeRedisRestart } from '../../src/worker.ts'

export const adminToken = 'token-of-the-tests-admin'

/** Deadlines that a slow machine does not pass, so that no test is decided by them; those about deadlines set their own. */
export const unhurried = {
  DATABASE_TIMEOUT_MS: '30000',
  REDIS_TIMEOUT_MS: '10000',
  REQUEST_TIMEOUT_MS: '60000',
}

export interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came, and asserts on it
  body: any
  headers: Headers
}

/** Makes an empty database on the server at `serverUrl`. Gives its URL and the function that drops it. */
export async function createDatabase(serverUrl: string) {
  const name = `test_${randomUUID().replaceAll('-', '')}`
  const admin = postgres(serverUrl, { max: 1, onnotice: () => undefined })
  await admin.unsafe(`create database ${name}`)
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return {
    url: url.href,
    async drop() {
      await admin.unsafe(`drop database ${name} with (force)`)
      await admin.end()
    },
  }
}

export type Harness = Awaited<ReturnType<typeof startHarness>>

/**
 * Starts the service in this process over a fresh database and an emptied Redis, without listening: calls go through
 * the application in memory. Several harnesses may share stores by passing `on`.
 */
export async function startHarness(
  options: {
    env?: Partial<Record<keyof Env, string>>
    ambient?: Ambient
    on?: { database: string; redis: string }
  } = {},
) {
  const database = options.on
    ? { url: options.on.database, drop: async () => undefined }
    : await createDatabase(inject('databaseUrl'))
  const redisUrl = options.on?.redis ?? inject('redisUrl')
  const env = readEnv({
    LOG_LEVEL: 'silent',
    ADMIN_TOKEN: adminToken,
    ...unhurried,
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl,
    ...options.env,
  })
  const deps = openDeps(env, options.ambient)
  await migrateDatabase(database.url, 10_000)
  await untilReady(deps.redis, 10_000)
  if (!options.on) await deps.redis.flushdb()
  const domains = createDomains(deps)
  await noticeRedisRestart(deps, domains.recoveries)
  const app = buildApp(deps, () => true, domains)
  const sql = postgres(database.url, {
    max: 4,
    onnotice: () => undefined,
    types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
  })

  async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await app.request(path, {
      method,
      headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const answer: Answer = {
      status: response.status,
      body: text === '' ? undefined : JSON.parse(text),
      headers: response.headers,
    }
    return answer
  }
  const admin = (method: string, path: string, body?: unknown) =>
    call(method, path, body, { Authorization: `Bearer ${adminToken}` })

  return {
    env,
    deps,
    ...domains,
    app,
    sql,
    redis: deps.redis,
    on: { database: database.url, redis: redisUrl },
    call,
    admin,
    get: (path: string) => call('GET', path),
    post: (path: string, body?: unknown, headers?: Record<string, string>) =>
      call('POST', path, body, headers),
    issue: (policyId: number, userId: number) =>
      call('POST', `/v1/coupon-policies/${policyId}/issue`, { userId }),
    /** Creates a policy through the API; open for an hour unless told otherwise. Gives its id. */
    async policy(changes: Record<string, unknown> = {}): Promise<number> {
      const created = await admin('POST', '/v1/admin/coupon-policies', newPolicy(changes))
      if (created.status !== 201) throw new Error(`no policy: ${JSON.stringify(created.body)}`)
      return created.body.id
    },
    /** Creates a product through the API. Gives its id. */
    async product(changes: Record<string, unknown> = {}): Promise<number> {
      const body = { name: 'Hairpin', price: 1000, stock: 10, ...changes }
      const created = await admin('POST', '/v1/admin/products', body)
      if (created.status !== 201) throw new Error(`no product: ${JSON.stringify(created.body)}`)
      return created.body.id
    },
    charge: (userId: number, amount: number, headers?: Record<string, string>) =>
      call('POST', `/v1/users/${userId}/balance/charge`, { amount }, headers),
    /** Orders one product, or several lines. */
    order(
      userId: number,
      items: number | { productId: number; quantity: number }[],
      more: { couponId?: string; key?: string } = {},
    ) {
      const { key, couponId } = more
      const lines = typeof items === 'number' ? [{ productId: items, quantity: 1 }] : items
      const body = { userId, items: lines, ...(couponId === undefined ? {} : { couponId }) }
      return call('POST', '/v1/orders', body, key === undefined ? {} : { 'Idempotency-Key': key })
    },
    cancel: (orderId: string, key?: string) =>
      call(
        'POST',
        `/v1/orders/${orderId}/cancel`,
        undefined,
        key === undefined ? {} : { 'Idempotency-Key': key },
      ),
    async balance(userId: number): Promise<number> {
      return (await call('GET', `/v1/users/${userId}/balance`)).body.balance
    },
    async stop() {
      await domains.drain()
      await deps.close()
      await sql.end()
      await database.drop()
    },
  }
}

/** The body that creates a policy: 10 coupons of 1,000 won, open from a minute ago for an hour. */
export function newPolicy(changes: Record<string, unknown> = {}) {
  const now = Date.now()
  return {
    name: 'Opening sale',
    discountType: 'AMOUNT',
    discountValue: 1000,
    totalQuantity: 10,
    issueStartsAt: new Date(now - 60_000).toISOString(),
    issueEndsAt: new Date(now + 3_600_000).toISOString(),
    validDays: 30,
    ...changes,
  }
}

/** How many answers there were of each status and code. */
export function tally(answers: Answer[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status, body } of answers) {
    const name = body?.code ?? String(status)
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

/** Polls until `check` gives something other than undefined and false. @throws after `timeoutMs`, naming `what` */
export async function until<Result>(
  what: string,
  check: () => Promise<Result | undefined | false>,
  timeoutMs = 10_000,
): Promise<Result> {
  const giveUpAt = Date.now() + timeoutMs
  for (;;) {
    const result = await check()
    if (result !== undefined && result !== false) return result
    if (Date.now() > giveUpAt) throw new Error(`waited ${timeoutMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
