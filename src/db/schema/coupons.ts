import { sql } from 'drizzle-orm'
import { bigint, check, index, integer, pgTable, text, timestamp, unique, uuid } from 'drizzle-orm/pg-core'

export const couponStatuses = ['AVAILABLE', 'USED', 'EXPIRED', 'CANCELED'] as const
export type CouponStatus = (typeof couponStatuses)[number]

/** Issued coupons. One per user and policy, and no rank twice, whatever the code above does (CPN-3). */
export const coupons = pgTable(
  'coupons',
  {
    id: uuid().primaryKey(),
    /** a policy that is there: see migration 0006 */
    policyId: bigint('policy_id', { mode: 'number' }).notNull(),
    userId: bigint('user_id', { mode: 'number' }).notNull(),
    /** place in the issue order of the policy, from 1, without gaps */
    rank: integer().notNull(),
    /** as stored; an AVAILABLE coupon past its expiry counts as EXPIRED (CPN-6) */
    status: text({ enum: couponStatuses }).notNull().default('AVAILABLE'),
    issuedAt: timestamp('issued_at', { withTimezone: true, precision: 3 }).notNull(),
    expiresAt: timestamp('expires_at', { withTimezone: true, precision: 3 }).notNull(),
    usedAt: timestamp('used_at', { withTimezone: true, precision: 3 }),
    orderId: uuid('order_id'),
  },
  (table) => [
    unique('coupons_policy_user').on(table.policyId, table.userId),
    unique('coupons_policy_rank').on(table.policyId, table.rank),
    index('coupons_user_newest').on(
      table.userId,
      table.issuedAt.desc().nullsFirst(),
      table.id.desc().nullsFirst(),
    ),
    // For the job that marks what has expired.
    index('coupons_expiring').on(table.expiresAt).where(sql`${table.status} = 'AVAILABLE'`),
    check('coupons_user', sql`${table.userId} > 0`),
    check('coupons_rank', sql`${table.rank} > 0`),
    check('coupons_status', sql`${table.status} in ('AVAILABLE', 'USED', 'EXPIRED', 'CANCELED')`),
    check('coupons_expiry', sql`${table.expiresAt} > ${table.issuedAt}`),
    check(
      'coupons_use',
      sql`(${table.status} = 'USED') = (${table.orderId} is not null) and (${table.status} = 'USED') = (${table.usedAt} is not null)`,
    ),
  ],
)

export type CouponRow = typeof coupons.$inferSelect
