import { eq, gt, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { couponPolicies, products } from '../db/schema/index.ts'

/** How much there is to load at most. */
export interface Plan {
  policies: number
  holders: number
  products: number
}

/** Counts what a warm-up will look at: one policy or product, or all products and the policies that end after `openAt`. */
export async function planOf(
  db: Database,
  of: { policyId: number | undefined; productId: number | undefined; isAll: boolean; openAt: Date },
): Promise<Plan> {
  const [policies] = await db
    .select({
      policies: sql<number>`count(*)`.mapWith(Number),
      holders: sql<number>`coalesce(sum(${couponPolicies.issuedQuantity}), 0)`.mapWith(Number),
    })
    .from(couponPolicies)
    .where(of.isAll ? gt(couponPolicies.issueEndsAt, of.openAt) : eq(couponPolicies.id, of.policyId ?? 0))
  const counted = of.isAll ? await db.$count(products) : of.productId === undefined ? 0 : 1
  return { policies: policies?.policies ?? 0, holders: policies?.holders ?? 0, products: counted }
}
