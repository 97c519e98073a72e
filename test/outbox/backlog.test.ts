import { afterEach, beforeEach, expect, it } from 'vitest'
import { countUndelivered, readBacklog } from '../../src/outbox/backlog.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await startHarness()
})
afterEach(() => harness.stop())

it('[ORD-7] counts what waits, all of it or the oldest of it, and tells how long the first has waited', async () => {
  const { sql, deps } = harness
  const now = Date.now()
  await sql`insert into orders (id, user_id, status, total_amount, discount_amount, final_amount, created_at)
    select gen_random_uuid(), 1, 'FAILED', 1, 0, 1, now() from generate_series(1, 300)`
  await sql`insert into outbox_events (event_id, type, order_id, occurred_at, payload)
    select gen_random_uuid(), 'order.paid', id, ${new Date(now)}::timestamptz - row_number() over () * interval '1 s', '{}'
    from orders`
  const [{ first }] = (await sql`select min(position) as first from outbox_events`) as unknown as [
    { first: number },
  ]
  await sql`update outbox_events set delivered_at = now() where position < ${first + 50}`
  await sql`update outbox_events set parked_at = now() where position between ${first + 50} and ${first + 69}`
  expect(await countUndelivered(deps.db, 100)).toEqual({ pending: 80, parked: 20 })
  expect(await countUndelivered(deps.db)).toEqual({ pending: 230, parked: 20 })
  const lagMs = 71_000
  expect(await readBacklog(deps.db, now)).toEqual({
    ...{ pending: 230, parked: 20 },
    ...{ oldestAt: new Date(now - lagMs), lagMs },
  })
})
