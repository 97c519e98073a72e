export * from './coupon-policies.ts'
export * from './coupons.ts'
export * from './redis-runs.ts'
