import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { runSale, type Sale } from './sale.ts'

let harness: Harness
let sale: Sale
beforeAll(async () => {
  harness = await startHarness()
  sale = await runSale(harness)
})
afterAll(() => harness.stop())

const audit = (body?: unknown) => harness.admin('POST', '/v1/admin/audit', body)

describe('POST /v1/admin/audit', () => {
  it('[ALL-4] answers the verdict, with an empty body and without one', async () => {
    for (const body of [undefined, {}, { repair: false }]) {
      const { status, body: verdict } = await audit(body)
      expect(status).toBe(200)
      expect(verdict).toMatchObject({ ok: true, changes: [] })
      expect(verdict.rules.length).toBeGreaterThan(20)
      expect(Object.keys(verdict.rules[0])).toEqual([
        'rule',
        'about',
        'looked',
        'skipped',
        'violated',
        'violations',
      ])
    }
  })

  it('[ALL-4, CPN-3] repairs only when told to, and lists what it changed', async () => {
    const key = keys.couponPolicy(sale.policyId)
    await harness.redis.hset(key, 'remaining', 3)
    expect((await audit()).body).toMatchObject({ ok: false, changes: [] })
    expect(await harness.redis.hget(key, 'remaining')).toBe('3')
    expect((await audit({ repair: true })).body).toMatchObject({
      ok: true,
      changes: [{ what: 'quantity of a policy', key, from: 3, to: 12 }],
    })
    expect(await harness.redis.hget(key, 'remaining')).toBe('12')
  })

  it('[ALL-3] refuses what is no body of it, and who is no admin', async () => {
    for (const body of [{ repair: 'yes' }, { fix: true }, [], 'null']) {
      expect((await audit(body)).body.code).toBe('VALIDATION_FAILED')
    }
    expect((await harness.post('/v1/admin/audit', {})).body.code).toBe('UNAUTHENTICATED')
  })
})
