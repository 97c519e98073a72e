import { sql } from 'drizzle-orm'
import { bigint, check, integer, pgTable, text, timestamp } from 'drizzle-orm/pg-core'

/** Coupon policies. `issued_quantity` is guarded by the row lock (CPN-4) and by its CHECK (CPN-3). */
export const couponPolicies = pgTable(
  'coupon_policies',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    name: text().notNull(),
    discountType: text('discount_type', { enum: ['AMOUNT', 'PERCENT'] }).notNull(),
    /** won for AMOUNT, 1 to 100 for PERCENT */
    discountValue: bigint('discount_value', { mode: 'number' }).notNull(),
    totalQuantity: integer('total_quantity').notNull(),
    issuedQuantity: integer('issued_quantity').notNull().default(0),
    issueStartsAt: timestamp('issue_starts_at', { withTimezone: true, precision: 3 }).notNull(),
    issueEndsAt: timestamp('issue_ends_at', { withTimezone: true, precision: 3 }).notNull(),
    /** days that an issued coupon stays valid */
    validDays: integer('valid_days').notNull(),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [
    check('coupon_policies_discount_type', sql`${table.discountType} in ('AMOUNT', 'PERCENT')`),
    check(
      'coupon_policies_discount_value',
      sql`${table.discountValue} > 0 and (${table.discountType} = 'AMOUNT' or ${table.discountValue} <= 100)`,
    ),
    check('coupon_policies_total', sql`${table.totalQuantity} > 0`),
    check('coupon_policies_issued', sql`${table.issuedQuantity} between 0 and ${table.totalQuantity}`),
    check('coupon_policies_window', sql`${table.issueEndsAt} > ${table.issueStartsAt}`),
    check('coupon_policies_valid_days', sql`${table.validDays} > 0`),
  ],
)

export type CouponPolicyRow = typeof couponPolicies.$inferSelect
