import type { Verdict } from '../../src/audit/verdict.ts'
import type { Told } from './crowd.ts'

/** What the service says of itself after the sale. */
export type Held = { remainingCoupons: number; stock: number; audit: Verdict }

export type Line = { what: string; expected: number; found: number }

export type Judgement = { lines: Line[]; isExact: boolean; unexpected: ReadonlyMap<string, number> }

/** Holds what the users were told, and what the service holds, against what a sale of this size must come to. */
export function judge(
  sale: { users: number; coupons: number; units: number },
  told: Told,
  held: Held,
): Judgement {
  const issued = Math.min(sale.users, sale.coupons)
  const sold = Math.min(sale.users, sale.units)
  const lines = [
    { what: 'users told: coupon issued', expected: issued, found: told.issued },
    { what: 'users told: sold out', expected: sale.users - issued, found: told.soldOut },
    { what: 'users told: order PAID', expected: sold, found: told.paid },
    { what: 'users told: too late', expected: sale.users - sold, found: told.tooLate },
    {
      what: 'any other answer',
      expected: 0,
      found: [...told.unexpected.values()].reduce((a, b) => a + b, 0),
    },
    { what: 'coupons left', expected: sale.coupons - issued, found: held.remainingCoupons },
    { what: 'units left', expected: sale.units - sold, found: held.stock },
    {
      what: 'rules broken in the audit',
      expected: 0,
      found: held.audit.rules.filter((rule) => rule.violated > 0).length,
    },
  ]
  const isExact = held.audit.ok && lines.every(({ expected, found }) => expected === found)
  return { lines, isExact, unexpected: told.unexpected }
}

/** One line about the audit. */
export function auditLine({ rules }: Verdict): string {
  const looked = rules.reduce((sum, rule) => sum + rule.looked, 0)
  const broken = rules.filter(({ violated }) => violated > 0)
  return broken.length === 0
    ? `all ${rules.length} rules hold, over ${looked.toLocaleString('en')} rows and keys`
    : `broken: ${broken.map(({ rule, violated }) => `${rule} ${violated} times`).join(', ')}`
}
