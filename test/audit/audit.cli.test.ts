import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { keepStores } from '../../scripts/start/stores.ts'
import { keys } from '../../src/redis/keys.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
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
