import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { keepStores } from '../../scripts/start/stores.ts'
import { keys } from '../../src/redis/keys.ts'
import { createDatabase, type Harness, startHarness } from '../setup/harness.ts'
import { type PrivateStore, startPrivateRedis } from '../setup/private-stores.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'
import { runTool } from '../setup/tool.ts'
import { runSale, type Sale } from './sale.ts'

describe('npm run audit', () => {
  let harness: Harness
  let sale: Sale
  beforeEach(async () => {
    harness = await startHarness()
    sale = await runSale(harness)
  })
  afterEach(() => harness.stop())
  const stores = () => ({ DATABASE_URL: harness.on.database, REDIS_URL: harness.on.redis })
  const audit = (...args: string[]) => runTool('audit.ts', args, stores())

  it('[ALL-4] prints a table and ends with 0 where no rule is broken', async () => {
    const { code, stdout, stderr } = await audit()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/stock-conserved +2 +0 +0\n/)
    expect(stdout).toMatch(/All \d+ rules hold\.\n$/)
  })

  it('[ALL-4, PRD-2] tells drift with 1, repairs it with 0, and then finds none; as JSON with --json', async () => {
    await harness.redis.hincrby(keys.stockAvailable(0), String(sale.productId), 5)
    const found = await audit()
    expect(found.code).toBe(1)
    expect(found.stdout).toContain(`{"productId":${sale.productId},"redis":47,"postgres":42}`)
    expect(found.stdout).toMatch(/1 of \d+ rules broken\.\n$/)

    const repaired = await audit('--repair', '--json')
    expect({ code: repaired.code, stderr: repaired.stderr }).toEqual({ code: 0, stderr: '' })
    const key = `${keys.stockAvailable(0)} ${sale.productId}`
    expect(JSON.parse(repaired.stdout)).toMatchObject({
      ok: true,
      changes: [{ what: 'stock of a product', key, from: 47, to: 42 }],
    })
    expect((await audit('--json')).code).toBe(0)
  })

  it('[ALL-4, PRD-4] ends with 1 after a repair too where Postgres itself breaks a rule', async () => {
    await harness.sql`update products set initial_stock = initial_stock + 1 where id = ${sale.otherId}`
    const { code, stdout } = await audit('--repair', '--json')
    expect(code).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, changes: [] })
  })
})

describe('npm run audit and npm run warm with another STOCK_SHARDS than the service', () => {
  let harness: Harness
  beforeEach(async () => {
    harness = await startHarness({ env: { STOCK_SHARDS: '3' } })
  })
  afterEach(() => harness.stop())

  it('[ALL-4, PRD-6] end with 2 and touch nothing', async () => {
    await runSale(harness)
    const stores = { DATABASE_URL: harness.on.database, REDIS_URL: harness.on.redis }
    const keysBefore = (await harness.redis.keys('*')).sort()
    const runs = [
      await runTool('audit.ts', ['--repair'], stores),
      await runTool('audit.ts', [], { ...stores, STOCK_SHARDS: '2' }),
      await runTool('warm.ts', [], stores),
    ]
    for (const { code, stdout, stderr } of runs) {
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toMatch(/STOCK_SHARDS is [12] here, .*: set STOCK_SHARDS=3\.\n$/)
    }
    expect((await harness.redis.keys('*')).sort()).toEqual(keysBefore)
    expect((await runTool('audit.ts', ['--repair'], { ...stores, STOCK_SHARDS: '3' })).code).toBe(0)
    await harness.sql`delete from redis_runs`
    expect((await runTool('audit.ts', [], stores)).code).not.toBe(2)
  })
})

describe('npm run audit that loses a store on its way', () => {
  let harness: Harness
  let redis: PrivateStore
  let database: Awaited<ReturnType<typeof createDatabase>>
  beforeEach(async () => {
    redis = await startPrivateRedis()
    database = await createDatabase(inject('databaseUrl'))
    harness = await startHarness({ on: { database: database.url, redis: redis.url } })
    await runSale(harness)
  })
  afterEach(async () => {
    await harness.stop()
    await database.drop()
    await redis.remove()
  })

  /** Runs the audit, which waits for a lock until `lose` is done. */
  async function auditWhile(lose: () => Promise<unknown>) {
    const letGo = await holding(harness, (tx) => tx`lock table balance_entries`)
    const stores = { DATABASE_URL: harness.on.database, REDIS_URL: redis.url, DATABASE_TIMEOUT_MS: '10000' }
    const running = runTool('audit.ts', [], stores)
    await untilLockIsAwaited(harness, 'pool')
    await lose()
    await letGo()
    return running
  }

  it('[ALL-4] ends with 2 when it was Postgres', async () => {
    const { code, stdout, stderr } = await auditWhile(
      () => harness.sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`,
    )
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^audit: A store does not answer any more: .+\n$/)
  })

  it('[ALL-4] ends with 2 when it was Redis', async () => {
    const { code, stdout, stderr } = await auditWhile(() => redis.kill())
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^audit: A store does not answer any more: .+\n$/)
  })
})

describe('npm run audit, called wrongly', () => {
  let dataDir: string
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'seonchak-audit-'))
  })
  afterAll(() => rm(dataDir, { recursive: true }))

  it('[ALL-4] explains itself with --help', async () => {
    const { code, stdout } = await runTool('audit.ts', ['--help'])
    expect(code).toBe(0)
    expect(stdout).toContain('Usage: npm run audit')
  })

  it('[ALL-4] ends with 2 for an option that it does not know', async () => {
    const { code, stderr } = await runTool('audit.ts', ['--fix'])
    expect(code).toBe(2)
    expect(stderr).toContain('Usage: npm run audit')
  })

  it('[ALL-4] ends with 2 where no store is named, or one is out of reach, and shows no password', async () => {
    const unnamed = await runTool('audit.ts', [])
    expect(unnamed.code).toBe(2)
    expect(unnamed.stderr).toContain('DATABASE_URL is not set')

    const gone = {
      DATABASE_URL: 'postgres://me:sesame@127.0.0.1:1/x',
      REDIS_URL: 'redis://:sesame@127.0.0.1:1',
    }
    // The stores of the last npm start stand in for what is unset.
    await keepStores(dataDir, gone)
    const runs = await Promise.all(
      [gone, { DATA_DIR: dataDir }].map((settings) => runTool('audit.ts', [], settings)),
    )
    for (const { code, stderr } of runs) {
      expect(code).toBe(2)
      expect(stderr).toContain('Redis cannot be reached')
      expect(stderr).not.toContain('sesame')
    }
  })
})
