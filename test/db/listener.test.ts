import { randomInt } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import postgres, { type Sql } from 'postgres'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { type Listener, openListener } from '../../src/db/listener.ts'
import { createDatabase, until } from '../setup/harness.ts'
import { openProxy } from '../setup/store-proxy.ts'

const applicationName = 'seonchak listener under test'

let database: Awaited<ReturnType<typeof createDatabase>>
let sql: Sql
let listeners: Listener[]
let heard: number
let listening: number
beforeEach(async () => {
  database = await createDatabase(inject('databaseUrl'))
  sql = postgres(database.url, { max: 1, onnotice: () => undefined })
  listeners = []
  heard = 0
  listening = 0
})
afterEach(async () => {
  await Promise.all(listeners.map((listener) => listener.close()))
  await sql.end()
  await database.drop()
})

function open(url = database.url, timeoutMs = 5000): Listener {
  const listener = openListener({
    url,
    timeoutMs,
    applicationName,
    channel: 'news',
    onNotify: () => heard++,
    onListening: () => listening++,
  })
  listeners.push(listener)
  return listener
}

const connections = async () =>
  (
    await sql`select pid from pg_stat_activity
      where datname = current_database() and application_name = ${applicationName}`
  ).map(({ pid }) => pid as number)
const terminate = async () => {
  for (const pid of await connections()) await sql`select pg_terminate_backend(${pid})`
}

describe('a listener', () => {
  it('hears what is notified, over one connection, and nothing after it is closed', async () => {
    const listener = open()
    await until('it to listen', async () => listening === 1)
    await sql`select pg_notify('news', ''), pg_notify('other', '')`
    await until('the news', async () => heard === 1)
    expect(await connections()).toHaveLength(1)
    await listener.close()
    await until('the connection to be gone', async () => (await connections()).length === 0)
    await sql`select pg_notify('news', '')`
    expect([heard, listening]).toEqual([1, 1])
  })

  it('listens again when its connection was lost, each time, and tells so', async () => {
    open()
    for (let time = 1; time <= 3; time++) {
      await until('it to listen', async () => listening === time)
      await sql`select pg_notify('news', '')`
      await until('the news', async () => heard === time)
      await terminate()
    }
    await until('it to listen', async () => listening === 4)
  })

  it('tries on while nobody is there, and can be closed meanwhile', async () => {
    const proxy = await openProxy(database.url)
    const listener = open(proxy.url)
    await until('it to listen', async () => listening === 1)
    await proxy.close()
    await pause(50)
    await listener.close()
    expect(await connections()).toEqual([])
  })

  it('gives up a connection over which no answer comes, and can be closed while it waits for one', async () => {
    const proxy = await openProxy(database.url)
    proxy.fallSilent()
    const listener = open(proxy.url, 1000)
    await until('a second try', async () => proxy.sent().length >= 2)
    const startedAt = performance.now()
    await listener.close()
    expect(performance.now() - startedAt).toBeLessThan(900)
    await proxy.close()
    expect(listening).toBe(0)
  })

  it('leaves no connection behind, whenever it is closed', async () => {
    for (let round = 0; round < 30; round++) {
      const listener = open()
      await pause(randomInt(20))
      if (round % 2 === 0) {
        await until('it to listen', async () => listening > 0)
        await terminate()
        await pause(randomInt(99) * 4)
      }
      await listener.close()
      listening = 0
    }
    await pause(50)
    await until('every connection to be gone', async () => (await connections()).length === 0)
  })
})
