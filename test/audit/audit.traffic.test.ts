import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Harness, startHarness } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { seeded } from '../setup/random.ts'
import { brokenOf } from './sale.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`audit traffic seed: TEST_SEED=${seed}`)
const audits = 10
const callers = 24

let harness: Harness
afterEach(() => harness.stop())

describe.each(['1', '3'])('the audit under traffic, shards: %s', (shards) => {
  beforeEach(async () => {
    harness = await startHarness({ env: { STOCK_SHARDS: shards } })
  })

  it('[ALL-4, PRD-4, CPN-3, BAL-5] ten audits during orders, cancellations, issues and charges find nothing', async () => {
    const random = seeded(seed)
    const productIds: number[] = []
    for (let n = 0; n < 6; n++) productIds.push(await harness.product({ stock: 400, price: 500 + n }))
    const policyIds = [
      await harness.policy({ totalQuantity: 5000, discountValue: 100 }),
      await harness.policy({ totalQuantity: 5000, discountType: 'PERCENT', discountValue: 15 }),
    ]
    const users = Array.from({ length: 40 }, (_, index) => index + 1)
    await Promise.all(users.map((userId) => harness.charge(userId, 2_000_000)))
    expect((await harness.get('/v1/products/popular')).status).toBe(200)

    let isOver = false
    let nextUser = 1000
    const unexpected: unknown[] = []
    const paid: string[] = []
    async function call(): Promise<void> {
      const userId = 1 + random.below(users.length)
      const kind = random.below(10)
      const policyId = policyIds[random.below(2)] as number
      if (kind < 5) {
        const chosen = random.shuffle(productIds).slice(0, 1 + random.below(3))
        const holder = nextUser++
        const couponId =
          kind === 0 ? ((await harness.issue(policyId, userId)).body.id as string | undefined) : undefined
        const buyer = couponId === undefined && kind === 1 ? holder : userId
        const lines = chosen.map((productId) => ({ productId, quantity: 1 + random.below(2) }))
        const order = await harness.order(buyer, lines, couponId === undefined ? {} : { couponId })
        if (order.status === 201) paid.push(order.body.id)
        else if (![402, 409, 422].includes(order.status)) unexpected.push(order.body)
      } else if (kind < 8) {
        const orderId = paid.shift()
        if (orderId === undefined) return
        const canceled = await harness.cancel(orderId)
        if (canceled.status !== 200) unexpected.push(canceled.body)
      } else if (kind === 8) {
        const issued = await harness.issue(policyId, nextUser++)
        if (issued.status !== 201) unexpected.push(issued.body)
      } else {
        const charged = await harness.charge(userId, 10_000)
        if (charged.status !== 200 && charged.body.code !== 'BALANCE_LIMIT_EXCEEDED') {
          unexpected.push(charged.body)
        }
      }
    }
    const traffic = Promise.all(
      Array.from({ length: callers }, async () => {
        while (!isOver) await call()
      }),
    )
    const found: unknown[] = []
    let looked = 0
    for (let n = 0; n < audits; n++) {
      // Repairs would show as changes: under traffic there is nothing to repair.
      const verdict = await harness.audit.run({ repair: n % 2 === 0 })
      looked += verdict.rules.reduce((sum, rule) => sum + rule.looked, 0)
      if (!verdict.ok || verdict.changes.length > 0) found.push({ broken: brokenOf(verdict), ...verdict })
    }
    isOver = true
    await traffic
    expect(found).toEqual([])
    expect(unexpected).toEqual([])
    expect(looked).toBeGreaterThan(audits * 100)
    expect(paid.length).toBeGreaterThan(0)

    const quiet = await harness.audit.run()
    expect(quiet).toMatchObject({ ok: true, changes: [] })
    expect(quiet.rules.filter(({ skipped }) => skipped > 0)).toEqual([])
    await expectConsistent(harness)
  })
})
