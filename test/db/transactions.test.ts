import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { statement } from '../../src/db/statement.ts'
import {
  openTransactions,
  type Transaction,
  type Transactions,
  type TransactionsSettings,
} from '../../src/db/transactions.ts'
import { Unavailable } from '../../src/errors.ts'
import { until } from '../setup/harness.ts'
import { insertEntry, insertEntryToo, lockEntry, openEntries, whereAmI } from './entries.ts'

let entries: Awaited<ReturnType<typeof openEntries>>
let opened: Transactions[] = []

beforeAll(async () => {
  entries = await openEntries()
})
afterAll(() => entries.drop())
beforeEach(() => entries.empty())
afterEach(async () => {
  await Promise.all(opened.map((transactions) => transactions.close()))
  opened = []
})

function open(settings: Partial<TransactionsSettings> = {}): Transactions {
  const transactions = openTransactions({
    url: entries.url,
    lanes: 1,
    maxWaiting: 10,
    timeoutMs: 10_000,
    applicationName: 'transactions test',
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

describe('commit', () => {
  it('has what was written there for everybody by the time it answers with the result of the body', async () => {
    const transactions = open()
    const result = await transactions.run(async (tx) => {
      tx.write(insertEntry, { id: 1, body: 'a' })
      tx.write(insertEntryToo, { id: 2, body: 'b' })
      return 'done'
    })
    expect(result).toBe('done')
    expect(await entries.ids()).toEqual([1, 2])
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it('gives rows as objects, bigint as number, and lets statements see what earlier ones wrote', async () => {
    const count = statement<Record<string, never>, { count: number; body: string | null }>(
      sql`select count(*) as count, max(body) as body from entries`,
    )
    const rows = await open().run(async (tx) => {
      const before = tx.read(count, {})
      tx.write(insertEntry, { id: 1, body: "it's \u0001 선착순 🎟" })
      return [...(await before), ...(await tx.read(count, {}))]
    })
    expect(rows).toEqual([
      { count: 0, body: null },
      { count: 1, body: "it's \u0001 선착순 🎟" },
    ])
  })

  it('[CPN-4] makes plans anew as a table grows: one made for an empty table reads all of it for each row', async () => {
    await entries.admin`create table seats (hall int, guest int, place int, unique (hall, guest), unique (hall, place))`
    await entries.admin`vacuum analyze seats`
    const find = statement<{ guest: number }, { place: number }>(
      sql`select place from seats where hall = 1 and guest = ${sql.placeholder('guest')}`,
    )
    const flush = statement<Record<string, never>, never>(sql`select pg_stat_force_next_flush()`)
    const transactions = open({ replanAfterMs: 200 })
    const look = (guest: number) =>
      transactions.run(async (tx) => {
        tx.write(flush, {})
        return tx.read(find, { guest })
      })
    // From the sixth on Postgres keeps a plan for all values.
    for (let guest = 1; guest <= 7; guest++) expect(await look(guest)).toEqual([])
    await entries.admin`insert into seats select 1, n, n from generate_series(1, 20000) n`
    const rowsRead = async () => {
      const [row] = await entries.admin<{ read: number }[]>`
        select sum(idx_tup_read)::int as read from pg_stat_user_indexes where relname = 'seats'`
      return row?.read ?? 0
    }
    await until('a plan that reads one row', async () => {
      const before = await rowsRead()
      expect(await look(19_999)).toEqual([{ place: 19_999 }])
      return (await rowsRead()) - before === 1
    })
    await entries.admin`drop table seats`
  })

  it('fails when Postgres refuses it at COMMIT', async () => {
    await entries.admin`create table tickets (seat int unique deferrable initially deferred)`
    const insert = statement<Record<string, never>, never>(sql`insert into tickets values (7)`)
    const transactions = open()
    const reason = await reasonOf(
      transactions.run(async (tx) => {
        tx.write(insert, {})
        expect(await tx.read(insert, {})).toEqual([])
      }),
    )
    expect(reason).toBeInstanceOf(postgres.PostgresError)
    expect(reason).toMatchObject({ code: '23505' })
    expect(await entries.admin`select * from tickets`).toHaveLength(0)
    expect(await transactions.run((tx) => tx.read(lockEntry, { id: 1 }))).toEqual([])
  })
})

describe('rollback', () => {
  it('takes back everything when the body throws, and the lane serves the next one', async () => {
    const transactions = open()
    const [before] = await transactions.run((tx) => tx.read(whereAmI, {}))
    const bug = new Error('bug')
    const failed = transactions.run(async (tx) => {
      tx.write(insertEntry, { id: 1, body: 'a' })
      await tx.read(lockEntry, { id: 1 })
      throw bug
    })
    expect(await reasonOf(failed)).toBe(bug)
    const [after] = await transactions.run((tx) => {
      tx.write(insertEntry, { id: 2, body: 'b' })
      return tx.read(whereAmI, {})
    })
    expect(await entries.ids()).toEqual([2])
    expect(after?.backend).toBe(before?.backend)
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it.each<[string, (tx: Transaction) => Promise<unknown>]>([
    ['nothing follows it', async () => undefined],
    ['other writes follow it', async (tx) => tx.write(insertEntryToo, { id: 4, body: 'd' })],
    // Postgres refuses a read after a failure too, for a reason that says nothing.
    ['a read follows it', (tx) => tx.read(lockEntry, { id: 1 })],
  ])('takes back everything when a write fails and %s, and tells why', async (_, follow) => {
    await entries.admin`insert into entries values (1, 'here before')`
    const transactions = open()
    const reason = await reasonOf(
      transactions.run(async (tx) => {
        tx.write(insertEntry, { id: 2, body: 'b' })
        tx.write(insertEntry, { id: 1, body: 'twice' })
        tx.write(insertEntry, { id: 3, body: 'c' })
        return follow(tx)
      }),
    )
    expect(reason).toBeInstanceOf(postgres.PostgresError)
    expect(reason).toMatchObject({ code: '23505', constraint_name: 'entries_pkey' })
    expect(await entries.ids()).toEqual([1])
    await transactions.run(async (tx) => tx.write(insertEntry, { id: 5, body: 'e' }))
    expect(await entries.ids()).toEqual([1, 5])
  })

  it('cannot be talked out of by a body that hides a failed statement', async () => {
    const divide = statement<Record<string, never>, { quotient: number }>(sql`select 1 / 0 as quotient`)
    const reason = await reasonOf(
      open().run(async (tx) => {
        tx.write(insertEntry, { id: 1, body: 'a' })
        await tx.read(divide, {}).catch(() => 'hidden')
        return 'fine'
      }),
    )
    expect(reason).toMatchObject({ code: '22012' })
    expect(await entries.ids()).toEqual([])
  })

  it('takes back everything when a parameter is undefined', async () => {
    const transactions = open()
    const reason = await reasonOf(
      transactions.run(async (tx) => {
        tx.write(insertEntry, { id: 1, body: 'a' })
        tx.write(insertEntryToo, { id: 2, body: undefined as never })
      }),
    )
    expect(reason).toBeInstanceOf(TypeError)
    expect(await entries.ids()).toEqual([])
    await transactions.run(async (tx) => tx.write(insertEntry, { id: 3, body: 'c' }))
    expect(await entries.ids()).toEqual([3])
  })

  it('refuses what a failed body sends afterwards, so that it reaches nobody else', async () => {
    const transactions = open()
    const gate = Promise.withResolvers<void>()
    let late: Promise<unknown> | undefined
    const failed = transactions.run((tx) => {
      late = gate.promise.then(() => tx.write(insertEntry, { id: 1, body: 'late' }))
      return Promise.all([late, Promise.reject(new Error('bug'))])
    })
    expect(await reasonOf(failed)).toEqual(new Error('bug'))
    await transactions.run(async (tx) => {
      tx.write(insertEntry, { id: 2, body: 'mine' })
      gate.resolve()
      expect(await reasonOf(late as Promise<unknown>)).toEqual(new Error('The transaction is over'))
      await tx.read(whereAmI, {})
    })
    expect(await entries.ids()).toEqual([2])
  })
})

describe('lanes', () => {
  it('run every statement of a transaction on one connection, in order, however many come at once', async () => {
    const transactions = open({ lanes: 2, maxWaiting: 200 })
    const large = 'x'.repeat(3_000_000)
    const found = await Promise.all(
      Array.from({ length: 150 }, (_, number) =>
        transactions.run(async (tx) => {
          const first = tx.read(whereAmI, {})
          // Every 25th is more than the socket takes at once, which holds back what follows.
          const body = number % 25 === 0 ? large : 'x'
          for (const [at, insert] of [insertEntry, insertEntryToo, insertEntry].entries()) {
            tx.write(insert, { id: number * 10 + at, body })
          }
          const second = tx.read(whereAmI, {})
          tx.write(insertEntryToo, { id: number * 10 + 3, body: 'x' })
          return [...(await first), ...(await second), ...(await tx.read(whereAmI, {}))]
        }),
      ),
    )
    const rows = await entries.admin`
      select id / 10 as number, backend, transaction, array_agg(id % 10 order by place)::text as ids,
        sum(length(body))::int as length
      from entries group by 1, 2, 3 order by 1`
    expect(rows.map((row) => ({ ...row }))).toEqual(
      found.map(([where], number) => ({
        number,
        ...where,
        ids: '{0,1,2,3}',
        length: number % 25 === 0 ? 3 * large.length + 1 : 4,
      })),
    )
    for (const places of found) expect(places).toEqual([places[0], places[0], places[0]])
    expect(new Set(found.map(([where]) => where?.backend)).size).toBe(2)
    expect(new Set(found.map(([where]) => where?.transaction)).size).toBe(150)
  })

  it('keep the order of more statements than the client sends at once', async () => {
    const ids = Array.from({ length: 350 }, (_, index) => index + 1)
    const transactions = open()
    for (const insert of [insertEntry, insertEntryToo]) {
      await entries.empty()
      await transactions.run(async (tx) => {
        for (const id of ids) tx.write(insert, { id, body: 'x' })
      })
      expect(await entries.ids()).toEqual(ids)
    }
  })

  it('are as many as told; beyond them callers wait, and beyond maxWaiting they are turned away', async () => {
    const transactions = open({ lanes: 2, maxWaiting: 3 })
    const gate = Promise.withResolvers<void>()
    let running = 0
    let most = 0
    const runOne = (id: number) =>
      transactions.run(async (tx) => {
        most = Math.max(most, ++running)
        await gate.promise
        running--
        tx.write(insertEntry, { id, body: 'x' })
        return id
      })
    const five = [1, 2, 3, 4, 5].map(runOne)
    await vi.waitFor(() => expect(running).toBe(2), { interval: 5 })
    expect(transactions.stats()).toEqual({ waiting: 3, busy: 2 })
    const turnedAway = await reasonOf(runOne(6))
    expect(turnedAway).toBeInstanceOf(Unavailable)
    expect(transactions.stats()).toEqual({ waiting: 3, busy: 2 })
    gate.resolve()
    expect(await Promise.all(five)).toEqual([1, 2, 3, 4, 5])
    expect(most).toBe(2)
    expect((await entries.ids()).sort()).toEqual([1, 2, 3, 4, 5])
    expect(transactions.stats()).toEqual({ waiting: 0, busy: 0 })
  })

  it('have deadlines on the side of the server, and end with close', async () => {
    const transactions = open({ lanes: 2, timeoutMs: 4321, applicationName: 'transactions close test' })
    const settings = statement<Record<string, never>, Record<string, string>>(
      sql`select current_setting('statement_timeout') as "statement", current_setting('lock_timeout') as "lock",
        current_setting('idle_in_transaction_session_timeout') as "idle"`,
    )
    const both = Promise.withResolvers<void>()
    let arrived = 0
    const found = await Promise.all(
      [1, 2].map(() =>
        transactions.run(async (tx) => {
          if (++arrived === 2) both.resolve()
          await both.promise
          return tx.read(settings, {})
        }),
      ),
    )
    const row = { statement: '3457ms', lock: '2593ms', idle: '4321ms' }
    expect(found).toEqual([[row], [row]])
    const connections = () =>
      entries.admin`select pid from pg_stat_activity where application_name = 'transactions close test'`
    expect(await connections()).toHaveLength(2)
    await transactions.close()
    await vi.waitFor(async () => expect(await connections()).toHaveLength(0), { interval: 10 })
  })
})
