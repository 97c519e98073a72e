import { describe, expect, it } from 'vitest'
import { decideGrants, type PolicyGrant } from '../../src/coupon/coupon.grant.ts'

const startsAt = Date.parse('2026-05-10T00:00:00Z')
const endsAt = startsAt + 3_600_000

const policy = (changes: object = {}) => ({
  id: 1,
  discountType: 'AMOUNT' as const,
  discountValue: 1000,
  totalQuantity: 3,
  issuedQuantity: 0,
  issueStartsAt: new Date(startsAt),
  issueEndsAt: new Date(endsAt),
  validDays: 1,
  ...changes,
})
const grant = (userId: number, couponId: string, atMs = startsAt, policyId = 1): PolicyGrant => ({
  policyId,
  userId,
  couponId,
  issuedAtMs: atMs,
})
/** Each outcome as the rank of its coupon, or the code of its refusal. */
const short = (outcomes: ReturnType<typeof decideGrants>['outcomes']) =>
  outcomes.map((outcome) => ('coupon' in outcome ? outcome.coupon.rank : outcome.refused))

describe('a batch of grants is decided as if they had come one after the other', () => {
  it('[CPN-3] ranks go on from the issued quantity without gaps, up to the total', () => {
    const grants = [1, 2, 3, 4].map((userId) => grant(userId, `c${userId}`))
    const { outcomes, issued } = decideGrants(grants, [policy({ issuedQuantity: 1 })], [])
    expect(short(outcomes)).toEqual([2, 3, 'COUPON_SOLD_OUT', 'COUPON_SOLD_OUT'])
    expect(issued.map(({ id, rank }) => [id, rank])).toEqual([
      ['c1', 2],
      ['c2', 3],
    ])
  })

  it('[CPN-3] a second grant of a user is refused with the coupon of the first, and takes no rank', () => {
    const { outcomes } = decideGrants([grant(1, 'a'), grant(1, 'b'), grant(2, 'c')], [policy()], [])
    expect(short(outcomes)).toEqual([1, 'COUPON_ALREADY_ISSUED', 2])
    expect(outcomes[1]).toMatchObject({ extra: { couponId: 'a' } })
  })

  it('[CPN-3, ALL-1] a grant that is there already gives its coupon again and inserts nothing', () => {
    const held = { ...grant(1, 'a'), id: 'a', rank: 3, status: 'USED' as const, issuedAt: new Date(0) }
    const row = { ...held, expiresAt: new Date(1), usedAt: new Date(1), orderId: 'o' }
    const sold = policy({ issuedQuantity: 3 })
    const { outcomes, issued } = decideGrants([grant(1, 'a'), grant(1, 'b')], [sold], [row])
    expect(outcomes[0]).toMatchObject({ coupon: { id: 'a', rank: 3, status: 'USED', orderId: 'o' } })
    expect(short(outcomes)).toEqual([3, 'COUPON_ALREADY_ISSUED'])
    expect(issued).toEqual([])
  })

  it('[CPN-2] the window is checked again, by the time of the grant and to the millisecond', () => {
    const at = [startsAt - 1, startsAt, endsAt - 1, endsAt]
    const { outcomes } = decideGrants(
      at.map((atMs, index) => grant(index + 1, `c${index}`, atMs)),
      [policy()],
      [],
    )
    expect(short(outcomes)).toEqual(['COUPON_NOT_STARTED', 1, 2, 'COUPON_ENDED'])
  })

  it('[CPN-2] a coupon expires its valid days after its time of issue', () => {
    const { issued } = decideGrants([grant(1, 'a', startsAt + 5)], [policy({ validDays: 2 })], [])
    expect(issued[0]?.expiresAt.getTime()).toBe(startsAt + 5 + 2 * 86_400_000)
  })

  it('[CPN-3] policies do not mix, and one that is gone refuses', () => {
    const policies = [policy({ totalQuantity: 1 }), policy({ id: 2, issuedQuantity: 2 })]
    const grants = [grant(1, 'a'), grant(1, 'b', startsAt, 2), grant(2, 'c'), grant(1, 'd', startsAt, 3)]
    const { outcomes } = decideGrants(grants, policies, [])
    expect(short(outcomes)).toEqual([1, 3, 'COUPON_SOLD_OUT', 'COUPON_POLICY_NOT_FOUND'])
  })
})
