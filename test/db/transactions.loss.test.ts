import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { classifyFailure, isDatabaseUnavailable, NotCommitted } from '../../src/db/failure.ts'
import { statement } from '../../src/db/statement.ts'
import { openTransactions, type Transactions, type TransactionsSettings } from '../../src/db/transactions.ts'
import { Unavailable } from '../../src/errors.ts'
import { type Cut, openProxy } from '../setup/store-proxy.ts'
import { insertEntry, insertEntryToo, lockEntry, openEntries, whereAmI } from './entries.ts'

/** Has this transaction wait for a lock for a tenth of a second at most. */
const shortPatience = statement<Record<string, never>, never>(
  sql`select set_config('lock_timeout', '100', true)`,
)

let entries: Awaited<ReturnType<typeof openEntries>>
let proxy: Awaited<ReturnType<typeof openProxy>>
let opened: Transactions[] = []

beforeAll(async () => {
  entries = await openEntries()
})
afterAll(() => entries.drop())
beforeEach(async () => {
  await entries.empty()
  proxy = await openProxy(entries.url)
})
afterEach(async () => {
  // Nothing was written on a connection before its transaction had begun, in any test.
  for (const sent of proxy.sent()) {
    if (sent.includes('insert')) expect(sent.slice(0, sent.indexOf('insert'))).toContain('begin\0')
  }
  await Promise.all(opened.map((transactions) => transactions.close()))
  opened = []
  // And no connection is left of those that were given up.
  await vi.waitFor(() => expect(proxy.open()).toBe(0), { interval: 5, timeout: 10_000 })
  await proxy.close()
})

function open(settings: Partial<TransactionsSettings> = {}): Transactions {
  const transactions = openTransactions({
    url: proxy.url,
    lanes: 1,
    maxWaiting: 10,
    timeoutMs: 10_000,
    applicationName: 'loss test',
    ...settings,
  })
  opened.push(transactions)
  return transactions
}

const reasonOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )

/**
 * That a failure is answered 503, and how the group commit takes it: 'final' where COMMIT was never sent, so that what
 * was admitted is given back at once, and 'unknown' where it may have gone through, so that recovery finds out.
 */
function expectUnavailable(reason: unknown, fault: 'final' | 'unknown'): void {
  expect([isDatabaseUnavailable(reason), classifyFailure(reason)], String(reason)).toEqual([true, fault])
}

async function expectUsable(transactions: Transactions, committedBefore: number[] = []): Promise<void> {
  await transactions.run(async (tx) => tx.write(insertEntry, { id: 1000, body: 'next' }))
  expect(await entries.ids()).toEqual([...committedBefore, 1000])
  expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
}

async function terminate(backend: number | undefined): Promise<void> {
  await entries.admin`select pg_terminate_backend(${backend as number})`
  await vi.waitFor(
    async () => {
      expect(await entries.admin`select from pg_stat_activity where pid = ${backend as number}`).toHaveLength(
        0,
      )
    },
    { interval: 5, timeout: 10_000 },
  )
}

describe('a connection that is lost', () => {
  const large = 'large '.repeat(1_000_000)
  const points: { when: string; cut: Cut; committed: number[] }[] = [
    { when: 'at BEGIN', cut: { from: 'client', text: 'begin\0' }, committed: [] },
    { when: 'before BEGIN is answered', cut: { from: 'server', text: 'BEGIN\0' }, committed: [] },
    { when: 'at the first write', cut: { from: 'client', text: 'first' }, committed: [] },
    { when: 'before the first write is answered', cut: { from: 'server', text: 'INSERT' }, committed: [] },
    { when: 'at the second write', cut: { from: 'client', text: 'second' }, committed: [] },
    { when: 'within a large write', cut: { from: 'client', text: 'large ' }, committed: [] },
    { when: 'at COMMIT', cut: { from: 'client', text: 'commit\0' }, committed: [] },
    { when: 'before COMMIT is answered', cut: { from: 'server', text: 'COMMIT\0' }, committed: [1, 2, 3, 4] },
  ]
  const cases = points.flatMap((point) =>
    [true, false].flatMap((isNew) => [true, false].map((reset) => ({ ...point, isNew, reset }))),
  )

  it.each(cases)(
    '$when (new lane: $isNew, reset: $reset) has committed $committed',
    async ({ cut, committed, isNew, reset }) => {
      const transactions = open()
      // A new lane has yet to connect; on a used one BEGIN, writes and COMMIT leave together. Either way the client has
      // not seen these two statements yet and holds back what follows them until they are described.
      if (!isNew) await transactions.run((tx) => tx.read(whereAmI, {}))
      proxy.cutOn({ ...cut, reset })
      const reason = await reasonOf(
        transactions.run(async (tx) => {
          tx.write(insertEntry, { id: 1, body: 'first' })
          tx.write(insertEntryToo, { id: 2, body: 'second' })
          tx.write(insertEntry, { id: 3, body: large })
          tx.write(insertEntryToo, { id: 4, body: 'last' })
        }),
      )
      // A new lane waits for its BEGIN before anything else.
      expectUnavailable(reason, isNew && /begin/i.test(cut.text) ? 'final' : 'unknown')
      await vi.waitFor(async () => expect(await entries.ids()).toEqual(committed), { interval: 5 })
      await expectUsable(transactions, committed)
    },
  )

  it.each([true, false])('under a read fails the transaction at once (reset: %s)', async (reset) => {
    const transactions = open({ timeoutMs: 60_000 })
    for (const _ of ['described', 'known already']) {
      proxy.cutOn({ from: 'client', text: 'A read.', reset })
      const reason = await reasonOf(
        transactions.run(async (tx) => {
          tx.write(insertEntry, { id: 1, body: 'x' })
          await tx.read(whereAmI, {})
          tx.write(insertEntryToo, { id: 2, body: 'A read.' })
          await tx.read(lockEntry, { id: 1 })
        }),
      )
      expect(reason).toMatchObject({ message: 'the connection was lost in a transaction' })
      expectUnavailable(reason, 'final')
    }
    expect(await entries.ids()).toEqual([])
    await expectUsable(transactions)
  })

  it('in the middle ends the transaction, however often the body goes on', async () => {
    const transactions = open()
    let tries = 0
    const reason = await reasonOf(
      transactions.run(async (tx) => {
        tx.write(insertEntry, { id: 1, body: 'before' })
        const [where] = await tx.read(whereAmI, {})
        await terminate(where?.backend)
        for (const id of [2, 3, 4]) {
          const failure = await reasonOf(tx.read(lockEntry, { id }))
          expectUnavailable(failure, 'unknown')
          tx.write(insertEntry, { id, body: 'after' })
          tx.write(insertEntryToo, { id: id * 10, body: 'after' })
          tries++
        }
        return 'fine'
      }),
    )
    expectUnavailable(reason, 'unknown')
    expect(tries).toBe(3)
    expect(await entries.ids()).toEqual([])
    await expectUsable(transactions)
    expect(proxy.sent()).toHaveLength(2)
  })

  it('with nothing left to read fails the transaction too', async () => {
    const transactions = open()
    const reason = await reasonOf(
      transactions.run(async (tx) => {
        const [where] = await tx.read(whereAmI, {})
        tx.write(insertEntry, { id: 1, body: 'before' })
        await tx.read(whereAmI, {})
        await terminate(where?.backend)
        tx.write(insertEntry, { id: 2, body: 'after' })
      }),
    )
    expectUnavailable(reason, 'unknown')
    expect(await entries.ids()).toEqual([])
    await expectUsable(transactions)
  })

  it('while a statement runs fails the transaction at once', async () => {
    const sleep = statement<Record<string, never>, never>(sql`select pg_sleep(60)`)
    const transactions = open({ timeoutMs: 60_000 })
    const backend = Promise.withResolvers<number>()
    const failed = reasonOf(
      transactions.run(async (tx) => {
        tx.write(insertEntry, { id: 1, body: 'a' })
        const [where] = await tx.read(whereAmI, {})
        backend.resolve(where?.backend as number)
        tx.write(insertEntryToo, { id: 2, body: 'b' })
        await tx.read(sleep, {})
      }),
    )
    await terminate(await backend.promise)
    const reason = await failed
    expect(reason).toMatchObject({ message: 'the connection was lost in a transaction' })
    expectUnavailable(reason, 'final')
    expect(await entries.ids()).toEqual([])
    await expectUsable(transactions)
  })

  it('while idle is replaced', async () => {
    const transactions = open()
    const [where] = await transactions.run((tx) => tx.read(whereAmI, {}))
    await terminate(where?.backend)
    // The end of a connection is no news until the client has read it; one that meets it on the way is not committed.
    await vi.waitFor(() => expectUsable(transactions), { interval: 5, timeout: 10_000 })
  })

  it('serves those who wait for the lane', async () => {
    const transactions = open()
    await transactions.run((tx) => tx.read(whereAmI, {}))
    proxy.cutOn({ from: 'client', text: 'insert' })
    const results = await Promise.allSettled(
      [1, 2, 3].map((id) =>
        transactions.run(async (tx) => {
          tx.write(insertEntry, { id, body: 'x' })
          return id
        }),
      ),
    )
    expect(results.map((result) => result.status)).toEqual(['rejected', 'fulfilled', 'fulfilled'])
    expect(await entries.ids()).toEqual([2, 3])
  })
})

describe('a server that is out of reach', () => {
  it('refuses at once where nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    server.close()
    await once(server, 'close')
    const transactions = open({ url: `postgres://postgres@127.0.0.1:${port}/nowhere`, timeoutMs: 60_000 })
    const reasons = await Promise.all(
      [1, 2, 3].map((id) =>
        reasonOf(transactions.run(async (tx) => tx.write(insertEntry, { id, body: 'x' }))),
      ),
    )
    for (const reason of reasons) {
      expect(reason).toBeInstanceOf(Unavailable)
      expect(reason).toMatchObject({ cause: { code: 'ECONNREFUSED' } })
      expectUnavailable(reason, 'final')
    }
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it('refuses with what Postgres says where it turns the connection away', async () => {
    const url = new URL(proxy.url)
    url.pathname = '/no_such_database'
    const transactions = open({ url: url.href, timeoutMs: 60_000 })
    const reason = await reasonOf(transactions.run(async (tx) => tx.write(insertEntry, { id: 1, body: 'x' })))
    expect(reason).toBeInstanceOf(postgres.PostgresError)
    expect(reason).toMatchObject({ code: '3D000' })
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it.each([
    { what: 'falls silent before the connection is up', warm: false },
    { what: 'falls silent in a transaction', warm: true },
  ])('is given up at the deadline when it $what', async ({ warm }) => {
    const transactions = open({ timeoutMs: 300 })
    if (warm) await transactions.run((tx) => tx.read(whereAmI, {}))
    proxy.fallSilent()
    const reasons = await Promise.all([
      reasonOf(transactions.run(async (tx) => tx.write(insertEntry, { id: 1, body: 'x' }))),
      reasonOf(transactions.run((tx) => tx.read(lockEntry, { id: 1 }))),
    ])
    for (const reason of reasons) {
      expect(reason).toMatchObject({ message: 'Postgres did not answer within the deadline' })
    }
    // The one that only wrote had sent its COMMIT, unless the connection never came up; the other was still reading.
    expectUnavailable(reasons[0], warm ? 'unknown' : 'final')
    expectUnavailable(reasons[1], 'final')
    expect(await entries.ids()).toEqual([])
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it('asks Postgres nothing but what it was told to', async () => {
    await open().run((tx) => tx.read(whereAmI, {}))
    expect(proxy.sent().join()).not.toContain('pg_catalog')
  })
})

describe('a lock held elsewhere', () => {
  /** Locks entry 1 in a transaction that stays open. */
  async function holdFirst() {
    const holder = await entries.admin.reserve()
    await holder`begin`
    await holder`select from entries where id = 1 for update`
    return holder
  }

  it('is waited for until the deadline, and what the transaction held itself is free then', async () => {
    await entries.admin`insert into entries values (1, 'held elsewhere'), (2, 'held by the transaction')`
    const transactions = open({ timeoutMs: 300 })
    const holder = await holdFirst()
    try {
      const reason = await reasonOf(
        transactions.run(async (tx) => {
          tx.write(insertEntry, { id: 3, body: 'x' })
          await tx.read(lockEntry, { id: 2 })
          await tx.read(lockEntry, { id: 1 })
        }),
      )
      expectUnavailable(reason, 'final')
      // Waits for whoever still has the row.
      expect(await entries.admin`select id from entries where id = 2 for update`).toHaveLength(1)
    } finally {
      await holder`rollback`
      holder.release()
    }
    expect(await transactions.run((tx) => tx.read(lockEntry, { id: 1 }))).toEqual([{ id: 1 }])
    expect(await entries.ids()).toEqual([1, 2])
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it('is known to have undone a transaction whose COMMIT was behind it: Postgres gave up and said so', async () => {
    await entries.admin`insert into entries values (1, 'held elsewhere')`
    // The client's own deadline never comes: the one on the side of the server is set by the transaction.
    const transactions = open({ timeoutMs: 30_000 })
    const holder = await holdFirst()
    try {
      const reason = await reasonOf(
        transactions.run(async (tx) => {
          tx.write(shortPatience, {})
          tx.write(insertEntry, { id: 2, body: 'x' })
          tx.write(lockEntry, { id: 1 })
        }),
      )
      expectUnavailable(reason, 'final')
      expect(reason).toBeInstanceOf(NotCommitted)
    } finally {
      await holder`rollback`
      holder.release()
    }
    expect(await entries.ids()).toEqual([1])
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it('makes a deadlock that Postgres resolves at the cost of one, which is told to try again', async () => {
    await entries.admin`insert into entries values (1, 'a'), (2, 'b')`
    const transactions = open({ lanes: 2 })
    const bothHold = Promise.withResolvers<void>()
    let holding = 0
    const results = await Promise.allSettled(
      [
        [1, 2],
        [2, 1],
      ].map(([first, second]) =>
        transactions.run(async (tx) => {
          await tx.read(lockEntry, { id: first as number })
          if (++holding === 2) bothHold.resolve()
          await bothHold.promise
          await tx.read(lockEntry, { id: second as number })
          tx.write(insertEntry, { id: 3, body: 'survivor' })
        }),
      ),
    )
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected'])
    const reason = results.find((result) => result.status === 'rejected')?.reason
    expect(reason).toMatchObject({ code: '40P01' })
    expect(classifyFailure(reason)).toBe('transient')
    expect(await entries.ids()).toEqual([1, 2, 3])
  })
})
