import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keys } from '../../src/redis/keys.ts'
import { expectExact } from '../setup/coupon-invariants.ts'
import { type Harness, startHarness, tally } from '../setup/harness.ts'
import { expectConsistent } from '../setup/order-invariants.ts'
import { runTool } from '../setup/tool.ts'

let harness: Harness
let products: number[]
let policies: number[]
let shardOf: (productId: number) => number
afterEach(() => harness.stop())

const users = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)
const warmByRoute = async (body?: unknown) => {
  const { status, body: answer } = await harness.admin('POST', '/v1/admin/cache/warm', body)
  expect(status).toBe(200)
  return answer
}
const warmByTool = async (args: string[] = []) => {
  const { DATABASE_URL, REDIS_URL, STOCK_SHARDS } = harness.env
  const env = { DATABASE_URL, REDIS_URL, STOCK_SHARDS: String(STOCK_SHARDS) }
  return runTool('warm.ts', args, env)
}
const loadedProducts = async () => {
  const held = await Promise.all(
    products.map((id) => harness.redis.hget(keys.stockAvailable(shardOf(id)), String(id))),
  )
  return products.filter((_, index) => held[index] !== null)
}
const loadedPolicies = async () => {
  const held = await Promise.all(
    policies.map((id) => harness.redis.hexists(keys.couponPolicy(id), 'remaining')),
  )
  return policies.filter((_, index) => held[index] === 1)
}

describe.each(['1', '3'])('warming up, shards: %s', (shards) => {
  beforeEach(async () => {
    harness = await startHarness({ env: { STOCK_SHARDS: shards } })
    shardOf = (productId) => productId % Number(shards)
    products = [await harness.product(), await harness.product(), await harness.product({ stock: 0 })]
    policies = [
      await harness.policy({ totalQuantity: 50 }),
      await harness.policy({ issueStartsAt: new Date(Date.now() + 1_800_000).toISOString() }),
    ]
    await Promise.all(users(30).map((userId) => harness.issue(policies[0] as number, userId)))
  })

  it('[ALL-4, CPN-3] after a flush loads all products, policies and holders, by the route', async () => {
    await harness.redis.flushdb()
    const answer = await warmByRoute()
    expect(answer).toEqual({ policies: 2, holders: 30, products: 3, milliseconds: expect.any(Number) })
    expect([await loadedProducts(), await loadedPolicies()]).toEqual([products, policies])
    await expectExact(harness, policies[0] as number, 30)
  })

  it('[ALL-4, CPN-3] and by the command, which sums up and ends with 0', async () => {
    await harness.redis.flushdb()
    const { code, stdout, stderr } = await warmByTool()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^2 policies, 30 holders, 3 products in \d+\.\d s\n$/)
    expect([await loadedProducts(), await loadedPolicies()]).toEqual([products, policies])
    await expectExact(harness, policies[0] as number, 30)
  })

  it('[ALL-4] loads one policy or one product, by both ways', async () => {
    const [productId, policyId] = [products[1] as number, policies[0] as number]
    await harness.redis.flushdb()
    expect(await warmByRoute({ productId })).toMatchObject({ policies: 0, holders: 0, products: 1 })
    expect([await loadedProducts(), await loadedPolicies()]).toEqual([[productId], []])
    await harness.redis.flushdb()
    const { code, stdout } = await warmByTool(['--policy', String(policyId), '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ policies: 1, holders: 30, products: 0 })
    expect([await loadedProducts(), await loadedPolicies()]).toEqual([[], [policyId]])
  })

  it('[ALL-4] only what is missing, where told so', async () => {
    const [productId, policyId] = [products[1] as number, policies[1] as number]
    await harness.redis.hdel(keys.stockAvailable(shardOf(productId)), String(productId))
    await harness.redis.del(keys.couponPolicy(policyId))
    expect(await warmByRoute({ missingOnly: true })).toMatchObject({ policies: 1, holders: 0, products: 1 })
    expect(await warmByRoute({ missingOnly: true })).toMatchObject({ policies: 0, holders: 0, products: 0 })
    expect((await warmByTool(['--missing'])).stdout).toMatch(/^0 policies, 0 holders, 0 products in /)
    expect(await warmByRoute({})).toMatchObject({ policies: 2, holders: 30, products: 3 })
  })

  it('[ALL-4, PRD-2, CPN-3] puts right what is loaded and wrong', async () => {
    const [productId, policyId] = [products[0] as number, policies[0] as number]
    await harness.redis.hset(keys.stockAvailable(shardOf(productId)), String(productId), 99)
    await harness.redis.hset(keys.couponPolicy(policyId), 'remaining', 99)
    await harness.redis.del(keys.couponHolder(policyId, 3))
    await warmByRoute({})
    expect((await harness.get(`/v1/products/${productId}`)).body.stock).toBe(10)
    await expectExact(harness, policyId, 30)
    expect(await harness.audit.run()).toMatchObject({ ok: true })
  })

  it('[ALL-4, CPN-3, PRD-4] during a sale, with flushes: nothing lost, nothing twice, nobody refused wrongly', async () => {
    const policyId = await harness.policy({ totalQuantity: 250 })
    const productId = await harness.product({ stock: 150, price: 100 })
    await Promise.all(users(300).map((userId) => harness.charge(userId, 10_000)))
    let isOver = false
    const warming = (async () => {
      for (let runs = 0; !isOver; runs++) {
        if (runs < 3) await harness.redis.flushdb()
        await warmByRoute({})
      }
    })()
    const [issued, ordered] = await Promise.all([
      Promise.all(users(300).map((userId) => harness.issue(policyId, userId))),
      Promise.all(users(300).map((userId) => harness.order(userId, productId))),
    ])
    isOver = true
    await warming
    expect(tally(issued)).toEqual({ 201: 250, COUPON_SOLD_OUT: 50 })
    expect(tally(ordered)).toEqual({ 201: 150, STOCK_INSUFFICIENT: 150 })
    await expectExact(harness, policyId, 250)
    await expectConsistent(harness)
  })

  it('[ALL-3] refuses what is not there: 404, and 1 from the command', async () => {
    const route = async (body: unknown) =>
      (await harness.admin('POST', '/v1/admin/cache/warm', body)).body.code
    expect(await route({ policyId: 9999 })).toBe('COUPON_POLICY_NOT_FOUND')
    expect(await route({ productId: 9999 })).toBe('PRODUCT_NOT_FOUND')
    for (const body of [{ policyId: '1' }, { all: true }, { missingOnly: 1 }, []]) {
      expect(await route(body)).toBe('VALIDATION_FAILED')
    }
    const { code, stderr } = await warmByTool(['--product', '9999'])
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'warm: There is no product 9999.\n' })
  })
})

describe('npm run warm, called wrongly', () => {
  it('[ALL-4] ends with 2 and the help, or 2 where the stores are out of reach', async () => {
    harness = await startHarness()
    const calls = [['--policy', 'x'], ['--product', '0'], ['--all'], ['extra']]
    for (const args of calls) {
      const { code, stderr } = await runTool('warm.ts', args)
      expect([code, stderr.includes('Usage: npm run warm')]).toEqual([2, true])
    }
    expect((await runTool('warm.ts', [])).code).toBe(2)
    expect(await runTool('warm.ts', ['--help'])).toMatchObject({ code: 0, stderr: '' })
  })
})
