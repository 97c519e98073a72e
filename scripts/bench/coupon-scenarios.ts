import { addPolicy, settlePostgres } from './dataset.ts'
import type { Comparison } from './scenario.ts'

const PLENTY = 100_000_000
const SOLD_OUT = 100
const HOLDERS = 20_000
/** Users who have no coupon of any set-up. */
const NEW_USERS = 5_000_001

export const couponIssue: Comparison = {
  name: 'coupon-issue',
  about: 'a coupon for a new user each, enough for all',
  isCommitted: true,
  expects: ['201'],
  bare: { kind: 'issue', policyId: 1, firstUser: 1 },
  async prepare({ data: { sql, warm } }) {
    return async () => {
      const policyId = await addPolicy(sql, { total: PLENTY })
      await warm(policyId)
      return { kind: 'issue', policyId, firstUser: 1 }
    }
  },
}

export const couponSoldOut: Comparison = {
  name: 'coupon-sold-out',
  about: 'a new user each asks for a coupon when none is left',
  isCommitted: false,
  expects: ['409 COUPON_SOLD_OUT'],
  bare: { kind: 'issue', policyId: 1, firstUser: NEW_USERS },
  async prepare({ data: { sql, warm } }) {
    const policyId = await addPolicy(sql, { total: SOLD_OUT, issued: SOLD_OUT })
    await settlePostgres(sql)
    await warm(policyId)
    return async () => ({ kind: 'issue', policyId, firstUser: NEW_USERS })
  },
}

export const couponRepeat: Comparison = {
  name: 'coupon-repeat',
  about: `${HOLDERS.toLocaleString('en')} holders ask again for the coupon that they have`,
  isCommitted: false,
  expects: ['409 COUPON_ALREADY_ISSUED'],
  bare: { kind: 'issue', policyId: 1, firstUser: 1, users: HOLDERS },
  async prepare({ data: { sql, warm } }) {
    const policyId = await addPolicy(sql, { total: PLENTY, issued: HOLDERS })
    await settlePostgres(sql)
    await warm(policyId)
    return async () => ({ kind: 'issue', policyId, firstUser: 1, users: HOLDERS })
  },
}
