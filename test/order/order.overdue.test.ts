import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Harness, startHarness, until } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { holding } from '../setup/row-locks.ts'

const deadlineMs = 500
/** COMMIT of an order waits for whoever has this lock, without an end, as it would for a disk that stalls. */
const stall = 7_001
let harness: Harness
beforeAll(async () => {
  harness = await startHarness({ env: { DATABASE_TIMEOUT_MS: String(deadlineMs) } })
  await harness.sql.unsafe(`
    create function await_disk() returns trigger language plpgsql as $$ begin
      perform pg_advisory_xact_lock_shared(${stall});
      return null;
    end $$;
    create function be_patient() returns trigger language plpgsql as $$ begin
      perform set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true);
      return null;
    end $$;
    create trigger orders_patience after insert on orders for each statement execute function be_patient();
    create constraint trigger orders_stall after insert on orders deferrable initially deferred
      for each row execute function await_disk()`)
})
afterAll(() => harness.stop())

const recover = () => Promise.all(harness.recoveries.map((recovery) => recovery.finishAbandoned(-1000)))

it('[ALL-2, ALL-3] a repeat is not refused for the units of its own first call, whose COMMIT is overdue', async () => {
  await harness.charge(1, 10_000)
  const productId = await harness.product({ stock: 2, price: 100 })
  const order = () => harness.order(1, [{ productId, quantity: 2 }], { key: 'the last two' })
  const letGo = await holding(harness, (connection) => connection`select pg_advisory_xact_lock(${stall})`)
  expect((await order()).status).toBe(503)

  const repeatedAt = performance.now()
  const repeat = order()
  // More than it takes to be refused by Redis.
  await until('the repeat to wait', async () => performance.now() - repeatedAt > deadlineMs)
  await letGo()
  const { status, headers, body } = await repeat
  expect([status, body.status, headers.get('idempotent-replayed')]).toEqual([201, 'PAID', 'true'])
  expect(await harness.balance(1)).toBe(9800)
  await recover()
  await expectConsistent(harness)
})

it('[ALL-2] where that COMMIT came to nothing, the repeat is told to wait, and then judged anew', async () => {
  const productId = await harness.product({ stock: 2, price: 100 })
  const order = () => harness.order(1, [{ productId, quantity: 2 }], { key: 'two more' })
  const letGo = await holding(harness, (connection) => connection`select pg_advisory_xact_lock(${stall})`)
  expect((await order()).status).toBe(503)
  await harness.sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'seonchak commit' and wait_event_type = 'Lock'`
  await letGo()
  await until('the repeat to be judged', async () => {
    const { status, body } = await order()
    if (status === 409 && body.code === 'IDEMPOTENCY_IN_PROGRESS') return false
    // Its first units are pending until recovery looks.
    if (status === 409) await recover()
    return status === 201
  })
  await expectConsistent(harness)
})
