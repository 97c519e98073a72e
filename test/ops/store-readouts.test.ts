import { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { createStoreReadouts } from '../../src/telemetry/store-readouts.ts'
import { parseExposition } from './exposition.ts'

it('[ORD-7] the lag of the outbox is told also when its counts take longer than a scrape waits', async () => {
  const registry = new Registry()
  const never = new Promise<never>(() => undefined)
  createStoreReadouts(registry).watchOutbox({
    lag: async () => ({ lagMs: 400_000 }),
    undelivered: () => never,
  })
  const scraped = parseExposition(await registry.metrics())
  expect(scraped.value('seonchak_outbox_lag_seconds')).toBe(400)
  expect(scraped.value('seonchak_outbox_pending_events')).toBeUndefined()
  expect(scraped.value('seonchak_outbox_parked_events')).toBeUndefined()
})
