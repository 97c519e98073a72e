import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../src/app.ts'
import { openDeps } from '../../src/deps.ts'
import { createDomains } from '../../src/domains.ts'
import { readEnv } from '../../src/env.ts'
import { keys } from '../../src/redis/keys.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { stockEntryText } from '../setup/pending.ts'
import { type Exposed, parseExposition } from './exposition.ts'

const root = join(import.meta.dirname, '../..')
const readText = (path: string) => readFileSync(join(root, path), 'utf8')
const issueRoute = '/v1/coupon-policies/:policyId/issue'

let harness: Harness
let scraped: Exposed
let policyId: number
let productId: number

async function scrape(app: { request(path: string): Response | Promise<Response> }): Promise<Exposed> {
  const response = await app.request('/metrics')
  expect(response.status).toBe(200)
  expect(response.headers.get('Content-Type')).toMatch(/^text\/plain; version=0\.0\.4/)
  return parseExposition(await response.text())
}

beforeAll(async () => {
  harness = await startHarness()
  policyId = await harness.policy({ totalQuantity: 3 })
  for (let userId = 1; userId <= 5; userId++) await harness.issue(policyId, userId)
  await harness.issue(policyId, 1)
  productId = await harness.product({ stock: 2 })
  await harness.charge(1, 10_000)
  const paid = await harness.order(1, productId)
  await harness.order(1, [{ productId, quantity: 5 }])
  await harness.order(9, productId)
  await harness.cancel(paid.body.order?.id ?? paid.body.id)
  await harness.call('BREW', `/v1/coffee/${crypto.randomUUID()}`)
  await harness.get(`/v1/products/${productId}`)
  await harness.get('/v1/products/999999999')
  for (const recovery of harness.recoveries) await recovery.reconcile()
  scraped = await scrape(harness.app)
})
afterAll(() => harness.stop())

describe('after known traffic', () => {
  it('requests are counted by route template, method, status and problem code', () => {
    const count = (method: string, route: string, status: string, code = '') =>
      scraped.value('seonchak_http_requests_total', { method, route, status, code })
    expect(count('POST', issueRoute, '201')).toBe(3)
    expect(count('POST', issueRoute, '409', 'COUPON_SOLD_OUT')).toBe(2)
    expect(count('POST', issueRoute, '409', 'COUPON_ALREADY_ISSUED')).toBe(1)
    expect(count('POST', '/v1/orders', '201')).toBe(1)
    expect(count('POST', '/v1/orders', '409', 'STOCK_INSUFFICIENT')).toBe(1)
    expect(count('POST', '/v1/orders', '402', 'INSUFFICIENT_BALANCE')).toBe(1)
    expect(count('GET', '/v1/products/:productId', '200')).toBe(1)
    expect(count('GET', '/v1/products/:productId', '404', 'PRODUCT_NOT_FOUND')).toBe(1)
    expect(
      scraped.value('seonchak_http_request_duration_seconds_count', {
        method: 'POST',
        route: issueRoute,
        status: '409',
      }),
    ).toBe(3)
  })

  it('what clients make up gets no labels of its own', () => {
    expect(
      scraped.value('seonchak_http_requests_total', {
        method: 'OTHER',
        route: 'unmatched',
        status: '404',
        code: 'NOT_FOUND',
      }),
    ).toBe(1)
    const values = scraped.samples.flatMap(({ labels }) => Object.values(labels))
    expect(values.filter((value) => /BREW|coffee|999999999/.test(value))).toEqual([])
  })

  it('outcomes of scripts are counted', () => {
    const count = (script: string, outcome: string) =>
      scraped.value('seonchak_redis_script_outcomes_total', { script, outcome })
    expect(count('coupon.issue', 'ADMITTED')).toBe(3)
    expect(count('coupon.issue', 'SOLD_OUT')).toBe(2)
    expect(count('coupon.issue', 'ALREADY_ISSUED')).toBe(1)
    expect(count('coupon.load', 'LOADED')).toBe(1)
    expect(count('stock.reserve', 'RESERVED')).toBe(2)
    expect(count('stock.reserve', 'INSUFFICIENT')).toBe(1)
    expect(scraped.value('seonchak_redis_script_duration_seconds_count', { script: 'coupon.issue' })).toBe(6)
  })

  it.each([
    ['coupon', 3],
    ['charge', 1],
    ['order', 2],
    ['cancel', 1],
  ])('group commits of the kind %s had %i members', (kind, members) => {
    expect(scraped.value('seonchak_commit_batch_size_sum', { kind })).toBe(members)
    expect(scraped.value('seonchak_commit_batch_size_bucket', { kind, le: '1' })).toBe(members)
    expect(scraped.value('seonchak_commit_duration_seconds_count', { kind })).toBe(members)
    expect(scraped.value('seonchak_commit_places_taken', { kind })).toBe(0)
    expect(scraped.value('seonchak_commit_places', { kind })).toBe(harness.env.COMMIT_MAX_QUEUE)
    expect(scraped.value('seonchak_commit_refused_total', { kind })).toBe(0)
  })

  it('transactions, stores, pending entries and the outbox are told', () => {
    expect(
      scraped.value('seonchak_postgres_transaction_duration_seconds_count', { outcome: 'committed' }),
    ).toBe(9)
    expect(scraped.value('seonchak_postgres_lane_wait_seconds_count')).toBe(9)
    for (const store of ['redis', 'postgres']) {
      expect(scraped.value('seonchak_up', { store })).toBe(1)
      expect(scraped.value('seonchak_store_latency_seconds', { store })).toBeGreaterThan(0)
    }
    for (const kind of ['coupon', 'stock']) {
      expect(scraped.value('seonchak_pending_entries', { kind })).toBe(0)
      expect(scraped.value('seonchak_pending_oldest_age_seconds', { kind })).toBe(0)
      expect(scraped.value('seonchak_drift_found_total', { kind })).toBe(0)
      expect(scraped.value('seonchak_abandoned_settled_total', { kind })).toBe(0)
    }
    // No relay runs here: the events of the order and of its cancellation wait.
    expect(scraped.value('seonchak_outbox_pending_events')).toBe(2)
    expect(scraped.value('seonchak_outbox_parked_events')).toBe(0)
    expect(scraped.value('seonchak_outbox_lag_seconds')).toBeGreaterThan(0)
  })

  it('buckets of a histogram add up, and end with the count', () => {
    const buckets = scraped.samples.filter(
      ({ name, labels }) => name === 'seonchak_commit_batch_size_bucket' && labels.kind === 'coupon',
    )
    const values = buckets.map(({ value }) => value)
    expect(values).toEqual([...values].sort((a, b) => a - b))
    expect(buckets.at(-1)).toMatchObject({ labels: { le: '+Inf' }, value: 3 })
  })
})

it('what was left pending, and what drifted, is told and counted', async () => {
  const { redis } = harness
  const other = await startHarness({ on: harness.on })
  try {
    await redis.hincrby(keys.couponPolicy(policyId), 'remaining', 5)
    for (const recovery of other.recoveries) await recovery.reconcile()
    const id = crypto.randomUUID()
    const entry = stockEntryText({ kind: 'reserve', orderId: id, lines: [] }, 1)
    await redis.hset(keys.stockPending(0), id, entry)
    const before = await scrape(other.app)
    expect(before.value('seonchak_drift_found_total', { kind: 'coupon' })).toBe(1)
    expect(before.value('seonchak_pending_entries', { kind: 'stock' })).toBe(1)
    expect(before.value('seonchak_pending_oldest_age_seconds', { kind: 'stock' })).toBeGreaterThan(1e9)
  } finally {
    await redis.del(keys.stockPending(0))
    await other.deps.close()
    await other.sql.end()
  }
})

it('is served without the api role, and while both stores are away', async () => {
  const deps = openDeps(
    readEnv({
      LOG_LEVEL: 'silent',
      DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
      REDIS_URL: 'redis://127.0.0.1:1',
      ROLES: 'worker',
    }),
  )
  try {
    createDomains(deps)
    const away = await scrape(buildApp(deps, () => true, undefined))
    for (const store of ['redis', 'postgres']) {
      expect(away.value('seonchak_up', { store })).toBe(0)
      expect(away.value('seonchak_store_latency_seconds', { store })).toBeUndefined()
    }
    for (const name of ['seonchak_pending_entries', 'seonchak_outbox_lag_seconds']) {
      expect(away.types.get(name)).toBe('gauge')
      expect(away.samples.filter((sample) => sample.name === name)).toEqual([])
    }
    expect(away.value('seonchak_commit_places_taken', { kind: 'order' })).toBe(0)
    expect(away.samples.filter(({ name }) => name === 'seonchak_role')).toMatchObject([
      { labels: { role: 'worker' }, value: 1 },
    ])
  } finally {
    await deps.close()
  }
})

/** Every PromQL expression of a file, with where it stands. */
const expressions = [
  ...[...readText('ops/prometheus/alerts.yml').matchAll(/^\s*expr: (.+)$/gm)].map(
    ([, expr]) => expr as string,
  ),
  ...(JSON.parse(readText('ops/grafana/seonchak.json')).panels as { targets?: { expr: string }[] }[]).flatMap(
    ({ targets = [] }) => targets.map(({ expr }) => expr),
  ),
]

describe('the dashboard and the alert rules', () => {
  it.each(expressions)('use names that are exposed: %s', (expr) => {
    const names = [...expr.matchAll(/\b(?:seonchak|nodejs|process)_\w+/g)].map(([name]) => name)
    expect(names.length).toBeGreaterThan(0)
    for (const name of names) expect(scraped.names, name).toContain(name)

    // Of Prometheus, and of a service of several processes (src/telemetry/merge.ts).
    const known = new Set(['le', 'instance', 'job', 'worker'])
    for (const { name, labels } of scraped.samples) {
      if (names.includes(name)) for (const label of Object.keys(labels)) known.add(label)
    }
    const matched = [...expr.matchAll(/\{([^}]*)\}/g)].flatMap(([, list = '']) =>
      [...list.matchAll(/(\w+)\s*(?:=~|!=|!~|=)\s*"/g)].map(([, label]) => label),
    )
    const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/))
    for (const label of [...matched, ...grouped]) expect(known, label).toContain(label)
  })

  it('use every metric of the service', () => {
    const all = expressions.join('\n')
    const own = [...scraped.types.keys()].filter((name) => name.startsWith('seonchak_'))
    expect(own.filter((name) => !all.includes(name))).toEqual([])
  })

  it('name routes that exist', () => {
    const routes = new Set(harness.app.routes.map(({ path }) => path))
    for (const [, route] of expressions.join('\n').matchAll(/route="([^"]+)"/g)) {
      expect(routes).toContain(route)
    }
  })

  it('each alert has a summary, and points to a heading of docs/operations.md', () => {
    const anchors = [...readText('docs/operations.md').matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    )
    const alerts = readText('ops/prometheus/alerts.yml').split('- alert: ').slice(1)
    expect(alerts.length).toBeGreaterThan(8)
    for (const alert of alerts) {
      expect(alert).toMatch(/^ +summary: \S/m)
      expect(anchors).toContain(/^ +runbook: docs\/operations\.md#(\S+)$/m.exec(alert)?.[1])
    }
  })
})
