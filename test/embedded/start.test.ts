import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { expect, inject, it } from 'vitest'
import { pickPort } from '../../scripts/embedded/port.ts'
import { seedDemo } from '../../scripts/seed.ts'
import { createDatabase, until } from '../setup/harness.ts'

const root = join(import.meta.dirname, '../..')
const hasIpv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === '::1'),
)

it('demo data is there without a service, and is made once', async () => {
  const database = await createDatabase(inject('databaseUrl'))
  const sql = postgres(database.url, { max: 1 })
  try {
    const now = new Date()
    const demo = await seedDemo(database.url, now)
    expect(await Promise.all([seedDemo(database.url, now), seedDemo(database.url, now)])).toEqual([
      demo,
      demo,
    ])
    const [made] = await sql`
      select (select count(*)::int from products) as products, (select count(*)::int from coupon_policies) as policies`
    expect(made).toEqual({ products: 3, policies: 1 })
  } finally {
    await sql.end()
    await database.drop()
  }
})

it.skipIf(!hasIpv6)('npm start serves on an IPv6 address, and says where', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'seonchak-start-'))
  const database = await createDatabase(inject('databaseUrl'))
  const port = await pickPort()
  const child = spawn(process.execPath, ['--import', './src/loading.ts', 'scripts/start.ts'], {
    cwd: root,
    env: {
      PATH: process.env.PATH ?? '',
      DATA_DIR: dataDir,
      HOST: '::1',
      PORT: String(port),
      DATABASE_URL: database.url,
      REDIS_URL: inject('redisUrl'),
      DATA_PLATFORM_URL: 'http://127.0.0.1:1/events',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data))
  try {
    // Who waits for the service to be ready finds something to try it with.
    const base = `http://[::1]:${port}`
    const isReady = async () => (await fetch(`${base}/readyz`).catch(() => undefined))?.status === 200
    await until('readiness', async () => (await isReady()) || child.exitCode !== null, 40_000)
    expect((await fetch(`${base}/v1/coupon-policies/1`)).status).toBe(200)
    expect((await fetch(`${base}/v1/products/1`)).status).toBe(200)
    await until(
      'the banner',
      async () => printed.includes('seonchak runs') || child.exitCode !== null,
      40_000,
    )
    expect(printed).toContain(`service   http://[::1]:${port} `)
    expect((await fetch(`${base}/readyz`)).status).toBe(200)
    child.kill('SIGTERM')
    expect(await exited).toEqual([0, null])
  } finally {
    child.kill('SIGTERM')
    await exited
    await database.drop()
    await rm(dataDir, { recursive: true })
  }
})
