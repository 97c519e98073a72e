import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, it } from 'vitest'
import { pickPort } from '../../scripts/embedded/port.ts'
import { createDatabase, until } from '../setup/harness.ts'

const root = join(import.meta.dirname, '../..')
const hasIpv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === '::1'),
)

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
    await until(
      'the banner',
      async () => printed.includes('seonchak runs') || child.exitCode !== null,
      40_000,
    )
    expect(printed).toContain(`service   http://[::1]:${port} `)
    expect((await fetch(`http://[::1]:${port}/readyz`)).status).toBe(200)
    child.kill('SIGTERM')
    expect(await exited).toEqual([0, null])
  } finally {
    child.kill('SIGTERM')
    await exited
    await database.drop()
    await rm(dataDir, { recursive: true })
  }
})
