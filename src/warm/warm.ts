import { setTimeout as pause } from 'node:timers/promises'
import { comparePolicy } from '../coupon/coupon.compare.ts'
import { writeHolders } from '../coupon/coupon.holders.ts'
import type { PolicyLoader } from '../coupon/coupon.load.ts'
import { findPolicy, listPolicies } from '../coupon/coupon.sql.ts'
import { type CouponPolicy, isArchived } from '../coupon/coupon.ts'
import type { Deps } from '../deps.ts'
import { type Refusal, refuse, Unavailable } from '../errors.ts'
import { findProduct, listStock } from '../product/product.sql.ts'
import { byShard } from '../product/product.ts'
import { createStockComparison } from '../product/stock.compare.ts'
import type { StockLoader } from '../product/stock.load.ts'
import { keys } from '../redis/keys.ts'
import { type Plan, planOf } from './warm.sql.ts'

const policiesPerPage = 500
const productsPerPage = 1000
/** Times that a policy is asked to be loaded: each waits a moment where another process is at it. */
const maxLoads = 30_000
const betweenLoadsMs = 10

export interface WarmRequest {
  /** only this policy, only this product; without either everything that is active */
  policyId?: number | undefined
  productId?: number | undefined
  /** only what Redis lacks */
  missingOnly?: boolean | undefined
}

/** How many were written into Redis, or held against Postgres where they were there. */
export interface Warmed {
  policies: number
  holders: number
  products: number
  milliseconds: number
}

/** What a caller may watch: first how much there is at most, then what is done. */
export interface WarmProgress {
  onPlan?: (plan: Plan) => void
  onDone?: (what: keyof Plan, count: number) => void
}

export type Warm = ReturnType<typeof createWarm>

/** Makes the function that brings Redis up for a sale, so that no buyer waits for a load. */
export function createWarm(deps: Deps & { policyLoader: PolicyLoader; stockLoader: StockLoader }) {
  const { db, redis, scripts, policyLoader, stockLoader, now, env } = deps
  const { compare, confirm } = createStockComparison(deps)

  /**
   * Loads products and policies with their holders. Safe while requests are served: what is loaded stays open, its
   * holders are written again in place, and it is dropped and loaded only where it differs from Postgres.
   * @throws Unavailable, or what the stores throw, when it cannot be done now
   */
  return async function warm(
    request: WarmRequest = {},
    progress: WarmProgress = {},
  ): Promise<Warmed | Refusal<'COUPON_POLICY_NOT_FOUND' | 'PRODUCT_NOT_FOUND'>> {
    const { policyId, productId, missingOnly = false } = request
    const { onPlan, onDone = () => undefined } = progress
    const startedAt = performance.now()
    const isAll = policyId === undefined && productId === undefined
    const policy = policyId === undefined ? undefined : await findPolicy(db, policyId)
    if (policyId !== undefined && (!policy || isArchived(policy, now()))) {
      return refuse(
        'COUPON_POLICY_NOT_FOUND',
        policy && 'The policy ended too long ago for Redis to know it.',
      )
    }
    if (productId !== undefined && !(await findProduct(db, productId))) return refuse('PRODUCT_NOT_FOUND')
    onPlan?.(await planOf(db, { policyId, productId, isAll, openAt: new Date(now()) }))

    const warmed = { policies: 0, holders: 0, products: 0 }
    const count = (what: keyof Plan, by: number) => {
      warmed[what] += by
      onDone(what, by)
    }
    const warmOne = async (each: CouponPolicy) => {
      const isWarmed = await warmPolicy(each, missingOnly, (written) => count('holders', written))
      if (isWarmed) count('policies', 1)
    }
    // Products first: they take a moment, the holders of a large policy many.
    if (productId !== undefined) count('products', await warmProducts([productId], missingOnly))
    if (isAll) {
      for (let page = await listStock(db, 0, productsPerPage); page.length > 0; ) {
        const ids = page.map(({ id }) => id)
        count('products', await warmProducts(ids, missingOnly))
        page = await listStock(db, ids.at(-1) ?? 0, productsPerPage)
      }
    }
    if (policy) await warmOne(policy)
    if (isAll) {
      const openAt = new Date(now())
      for (let page = await listPolicies(db, openAt, 0, policiesPerPage); page.length > 0; ) {
        for (const each of page) await warmOne(each)
        page = await listPolicies(db, openAt, page.at(-1)?.id ?? 0, policiesPerPage)
      }
    }
    return { ...warmed, milliseconds: Math.round(performance.now() - startedAt) }
  }

  /** Gives how many of the products were warmed. */
  async function warmProducts(productIds: number[], missingOnly: boolean): Promise<number> {
    let warmed = 0
    for (const [shard, ids] of byShard(productIds, (id) => id, env.STOCK_SHARDS)) {
      const { missing, differing } = await compare(shard, ids)
      if (!missingOnly) {
        const wrong = [...(await confirm(shard, differing)).keys()]
        if (wrong.length > 0) await redis.hdel(keys.stockAvailable(shard), ...wrong.map(String))
        missing.push(...wrong)
      }
      await stockLoader.load(missing)
      warmed += missingOnly ? missing.length : ids.length
    }
    return warmed
  }

  /** Gives whether there was something to do. */
  async function warmPolicy(
    policy: CouponPolicy,
    missingOnly: boolean,
    onHolders: (count: number) => void,
  ): Promise<boolean> {
    const state = await scripts.inspectPolicy(policy.id)
    if (state.remaining !== null && missingOnly) return false
    if (state.holdersUpTo !== null && !missingOnly) {
      await writeHolders({ scripts, db }, policy, { onWritten: onHolders })
    }
    if (state.remaining !== null) {
      const look = await comparePolicy({ scripts, db }, policy)
      if (look.outcome === 'DIFFERENT') await redis.hdel(keys.couponPolicy(policy.id), 'remaining')
    }
    for (let loads = 0; loads < maxLoads; loads++) {
      if ((await redis.hexists(keys.couponPolicy(policy.id), 'remaining')) === 1) return true
      await policyLoader.load(policy, onHolders)
      if (loads > 0) await pause(betweenLoadsMs)
    }
    throw new Unavailable(`policy ${policy.id} could not be loaded`)
  }
}
