import { expect } from 'vitest'
import { type FakeDataPlatform, startFakeDataPlatform } from '../../scripts/fake-data-platform.ts'
import type { Env } from '../../src/env.ts'
import { type Harness, startHarness, until } from './harness.ts'
import { inParallel } from './server.ts'

type EnvText = Partial<Record<keyof Env, string>>

/** The service with a data platform in this process; its relay runs once it is started. */
export async function startWithPlatform(env: EnvText = {}) {
  const platform = await startFakeDataPlatform()
  const harness = await startHarness({ env: { DATA_PLATFORM_URL: platform.eventsUrl, ...env } })
  return {
    platform,
    harness,
    async stop() {
      await harness.stop()
      await platform.stop()
    },
  }
}

/** Gives users a balance of 100,000 won each. */
export async function chargeUsers(harness: Harness, userIds: number[]): Promise<void> {
  await inParallel(userIds, 50, async (userId) => {
    expect((await harness.charge(userId, 100_000)).status).toBe(200)
  })
}

/** Numbers from 1 to `count`: users who buy. */
export const buyers = (count: number) => Array.from({ length: count }, (_, index) => 1 + index)

/** Waits until no event is left to be delivered. */
export function untilDelivered({ sql }: Harness, timeoutMs = 20_000): Promise<boolean> {
  return until(
    'every event to be delivered',
    async () => (await sql`select 1 from outbox_events where delivered_at is null limit 1`).length === 0,
    timeoutMs,
  )
}

/** The platform has every event of Postgres and no other, nothing under two ids, and each order's events in order. */
export async function expectAllArrived({ sql }: Harness, platform: FakeDataPlatform): Promise<void> {
  const written = await sql`select event_id, type, order_id, occurred_at, payload from outbox_events`
  const arrived = platform.events()
  const shown = (event: Record<string, unknown>) => JSON.stringify(event)
  expect(
    arrived.map(({ eventId, type, occurredAt, order }) => shown({ eventId, type, occurredAt, order })).sort(),
  ).toEqual(
    written
      .map(({ event_id: eventId, type, occurred_at, payload: order }) =>
        shown({ eventId, type, occurredAt: occurred_at.toISOString(), order }),
      )
      .sort(),
  )
  expect(platform.stats()).toMatchObject({ conflicts: 0, orderViolations: 0 })
}
