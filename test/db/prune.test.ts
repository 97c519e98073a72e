import { afterAll, beforeAll, expect, it } from 'vitest'
import { prune } from '../../src/db/prune.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

it('prunes answers after 48 hours and fences after 24, in batches, and nothing younger', async () => {
  const { sql } = harness
  const now = new Date('2026-05-10T00:00:00Z')
  await sql`insert into idempotency_keys (user_id, route, key, fingerprint, status, answer, created_at)
    select n, 'POST /v1/orders', 'k', 'f', 201, '{}', ${now}::timestamptz - n * interval '1 minute'
    from generate_series(1, 12000) n`
  await sql`insert into abandoned_entries (id, abandoned_at)
    select gen_random_uuid(), ${now}::timestamptz - n * interval '1 hour' from generate_series(1, 30) n`
  expect(await prune(harness.deps.db, now)).toBe(12000 - 48 * 60 + 6)
  expect(await prune(harness.deps.db, now)).toBe(0)
  const [oldest] = await sql`select min(created_at) as at from idempotency_keys`
  expect(oldest?.at).toEqual(new Date('2026-05-08T00:00:00Z'))
  expect((await sql`select 1 from abandoned_entries`).length).toBe(24)
})
