import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { sql } from 'drizzle-orm'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../src/db/client.ts'
import { isDatabaseUnavailable } from '../../src/db/failure.ts'
import { createDatabase, until } from '../setup/harness.ts'
import { openProxy } from '../setup/store-proxy.ts'

type OpenDatabase = ReturnType<typeof openDatabase>

let database: Awaited<ReturnType<typeof createDatabase>>
let proxy: Awaited<ReturnType<typeof openProxy>>
let opened: OpenDatabase[] = []

beforeAll(async () => {
  database = await createDatabase(inject('databaseUrl'))
})
afterAll(() => database.drop())
beforeEach(async () => {
  proxy = await openProxy(database.url)
})
afterEach(async () => {
  await Promise.all(opened.map((one) => one.close()))
  opened = []
  await proxy.close()
})

function open(settings: Partial<Parameters<typeof openDatabase>[0]> = {}): OpenDatabase {
  const one = openDatabase({
    url: proxy.url,
    pool: 1,
    timeoutMs: 10_000,
    applicationName: 'client test',
    ...settings,
  })
  opened.push(one)
  return one
}

type Executor = Pick<OpenDatabase['db'], 'execute'>
const askFor = async (db: Executor, n: number) => (await db.execute(sql`select ${n}::int as n`))[0]?.n
/** Whether the fault is one that is answered 503, and not a bug. */
const isAway = (error: unknown) => isDatabaseUnavailable((error as Error).cause)

describe('connections for reads', () => {
  it('[ALL-4] a reset connection is replaced, whenever in a turn of the event loop a statement comes', async () => {
    const { db } = open({ timeoutMs: 60_000 })
    for (let turns = 0; turns < 60; turns++) {
      const answer = await until('an answer', () => askFor(db, turns).catch(() => undefined))
      expect(answer).toBe(turns)
      proxy.resetOpen()
      // Reads are gathered and sent by setImmediate: between hearing of a reset and being told of it, the client took
      // a statement, and never sent anything on that connection again.
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
      const unlucky = await askFor(db, turns).catch((error: unknown) => isAway(error))
      expect([true, turns]).toContain(unlucky)
    }
  })

  it('[ALL-4] statements on connections that have fallen silent end, and the next ones are answered', async () => {
    const { db } = open({ pool: 3, timeoutMs: 200 })
    await Promise.all([1, 2, 3].map((n) => askFor(db, n)))
    proxy.silenceOpen()
    const reasons = await Promise.all([1, 2, 3].map((n) => askFor(db, n).catch((error: unknown) => error)))
    expect(reasons.map(isAway)).toEqual([true, true, true])
    expect(await Promise.all([1, 2, 3].map((n) => askFor(db, n)))).toEqual([1, 2, 3])
  })

  it('[ALL-4] a transaction on a connection that has fallen silent ends, and nothing of it runs elsewhere', async () => {
    const { db } = open({ timeoutMs: 200 })
    await db.execute('create table if not exists marks (n int)')
    const run = db.transaction(async (tx) => {
      await tx.execute('insert into marks values (1)')
      proxy.silenceOpen()
      await tx.execute('insert into marks values (2)').catch(() => undefined)
      await tx.execute('insert into marks values (3)')
    })
    expect(isAway(await run.catch((error: unknown) => error))).toBe(true)
    expect(await db.execute('select n from marks')).toEqual([])
  })

  it('[ALL-4] a transaction that fails is rolled back, and its connection goes on', async () => {
    const { db } = open()
    await db.execute('create table if not exists tries (n int)')
    const run = db.transaction(async (tx) => {
      await tx.execute('insert into tries values (1)')
      await tx.execute('select 1 / 0')
    })
    await expect(run).rejects.toMatchObject({ cause: { code: '22012' } })
    await db.transaction((tx) => tx.execute('insert into tries values (2)'))
    expect(await db.execute('select n from tries')).toEqual([{ n: 2 }])
    expect(proxy.sent().length).toBe(1)
  })

  it('a statement has its deadline on the server, and in a patient transaction a longer one', async () => {
    const { db, patient } = open({ timeoutMs: 200 })
    const sleep = sql`select pg_sleep(0.5)`
    await expect(db.execute(sleep)).rejects.toMatchObject({ cause: { code: '57014' } })
    await expect(db.transaction((tx) => tx.execute(sleep))).rejects.toMatchObject({
      cause: { code: '57014' },
    })
    await patient(10_000).transaction((tx) => tx.execute(sleep))
    await expect(db.execute(sleep)).rejects.toMatchObject({ cause: { code: '57014' } })
    expect(proxy.sent().length).toBe(1)
  })

  it('who waits for a connection longer than the deadline is told so', async () => {
    const { db, patient } = open({ timeoutMs: 200 })
    const long = patient(10_000).transaction((tx) => tx.execute(sql`select pg_sleep(1)`))
    const reason = await askFor(db, 1).catch((error: unknown) => error)
    expect(isAway(reason)).toBe(true)
    await long
    expect(await askFor(db, 2)).toBe(2)
  })

  it('is not asked for a connection by every statement while it takes none', async () => {
    let connections = 0
    const server = createServer((socket) => {
      connections++
      socket.on('error', () => undefined)
      socket.resetAndDestroy()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const { db } = open({ url: `postgres://nobody@127.0.0.1:${port}/none`, pool: 10 })
    try {
      for (let n = 0; n < 200; n++) expect(isAway(await askFor(db, n).catch((error) => error))).toBe(true)
      expect(connections).toBeGreaterThan(0)
      expect(connections).toBeLessThan(20)
    } finally {
      server.close()
    }
  })

  it('when they are closed, what is under way ends first and no more is taken', async () => {
    const one = open()
    const slow = one.db.execute(sql`select pg_sleep(0.3)`).then(() => 'done')
    const waiting = askFor(one.db, 1).catch((error: unknown) => error)
    await until('it to be under way', async () => one.stats().busy === 1)
    await one.close()
    expect(await slow).toBe('done')
    expect(isAway(await waiting)).toBe(true)
    await expect(askFor(one.db, 2)).rejects.toThrow()
    await until('the connection to end', async () => proxy.open() === 0)
  })
})
