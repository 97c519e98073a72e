import { randomUUIDv7 } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commitAdmitted } from '../../src/coupon/coupon.admitted.ts'
import { commitGrants, type PolicyGrant } from '../../src/coupon/coupon.grant.ts'
import { isRuleBroken } from '../../src/db/failure.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`commitAdmitted seed: TEST_SEED=${seed}`)

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const startsAt = Date.now()
const windowMs = 3_600_000
const newPolicy = (totalQuantity: number) =>
  harness.policy({
    totalQuantity,
    validDays: 3,
    issueStartsAt: new Date(startsAt).toISOString(),
    issueEndsAt: new Date(startsAt + windowMs).toISOString(),
  })
const grant = (policyId: number, userId: number, atMs = startsAt): PolicyGrant => ({
  policyId,
  userId,
  couponId: randomUUIDv7(),
  issuedAtMs: atMs,
})
const commit = (grants: PolicyGrant[]) => commitAdmitted(harness.deps.transactions, grants)
const rows = (policyIds: number[]) => harness.sql`
  select id, policy_id, user_id, rank, status, issued_at, expires_at from coupons
  where policy_id = any(${policyIds}) order by policy_id, rank`
const issued = async (policyId: number) =>
  (await harness.sql`select issued_quantity from coupon_policies where id = ${policyId}`)[0]?.issued_quantity

describe('grants written as Redis admitted them', () => {
  it('[CPN-2, CPN-3] become the coupons that deciding from locked rows makes of them, whatever the batch', async () => {
    const batch = fc.array(fc.record({ policy: fc.nat(2), at: fc.nat(windowMs - 1) }), {
      minLength: 1,
      maxLength: 30,
    })
    await fc.assert(
      fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 3 }), async (batches) => {
        const trusted = [await newPolicy(100), await newPolicy(100), await newPolicy(100)]
        const decided = [await newPolicy(100), await newPolicy(100), await newPolicy(100)]
        let userId = 0
        for (const members of batches) {
          const at = members.map((member) => ({ ...member, userId: ++userId }))
          const on = (policyIds: number[]) =>
            at.map((member) => grant(policyIds[member.policy] as number, member.userId, startsAt + member.at))
          const grants = on(trusted)
          const outcomes = await commit(grants)
          const expected = await harness.deps.transactions.run((tx) => commitGrants(tx, on(decided)))
          const plain = (list: typeof outcomes) =>
            list.map((outcome) =>
              'coupon' in outcome ? { ...outcome.coupon, id: '', policyId: 0 } : outcome,
            )
          expect(plain(outcomes)).toEqual(plain(expected))
          expect(outcomes.map((outcome) => 'coupon' in outcome && outcome.coupon.id)).toEqual(
            grants.map(({ couponId }) => couponId),
          )
        }
        const contents = async (policyIds: number[]) =>
          (await rows(policyIds)).map(({ id, policy_id, ...row }) => [policyIds.indexOf(policy_id), row])
        expect(await contents(trusted)).toEqual(await contents(decided))
        expect(await Promise.all(trusted.map(issued))).toEqual(await Promise.all(decided.map(issued)))
      }),
      { seed, numRuns: 15 },
    )
  })

  const policyId = async (total = 10) => {
    const id = await newPolicy(total)
    await commit([grant(id, 1), grant(id, 2)])
    return id
  }
  it.each<[string, (id: number) => PolicyGrant[]]>([
    ['one more than there are', (id) => Array.from({ length: 9 }, (_, n) => grant(id, n + 3))],
    ['a user who has a coupon', (id) => [grant(id, 3), grant(id, 2)]],
    ['a user twice', (id) => [grant(id, 3), grant(id, 3)]],
    ['a grant before the start', (id) => [grant(id, 3), grant(id, 4, startsAt - 1)]],
    ['a grant at the end', (id) => [grant(id, 3), grant(id, 4, startsAt + windowMs)]],
    ['a policy that is not there', (id) => [grant(id, 3), grant(999_999, 4)]],
    ['nothing but a policy that is not there', () => [grant(999_999, 4)]],
  ])('[CPN-2, CPN-3] change nothing and break a rule: %s', async (_, grantsOf) => {
    const id = await policyId()
    const before = [await rows([id]), await issued(id)]
    const error = await commit(grantsOf(id)).catch((reason: unknown) => reason)
    expect(isRuleBroken(error)).toBe(true)
    expect([await rows([id]), await issued(id)]).toEqual(before)
  })

  it('[CPN-3, ALL-1] of which one is there already give its coupon again, and the others theirs', async () => {
    const id = await policyId()
    const there = grant(id, 3)
    await harness.coupons.commit.reserve()?.submit(there)
    const outcomes = await Promise.all(
      [there, grant(id, 4), grant(id, 2)].map((each) => harness.coupons.commit.reserve()?.submit(each)),
    )
    expect(
      outcomes.map((outcome) => outcome && ('coupon' in outcome ? outcome.coupon.rank : outcome.refused)),
    ).toEqual([3, 4, 'COUPON_ALREADY_ISSUED'])
    expect(await issued(id)).toBe(4)
  })
})
