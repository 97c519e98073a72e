import { sql } from 'drizzle-orm'
import { couponPolicies, coupons } from '../db/schema/index.ts'
import { bigints, statement, uuids } from '../db/statement.ts'
import type { Transactions } from '../db/transactions.ts'
import { type GrantOutcome, lockPolicies, type PolicyGrant } from './coupon.grant.ts'
import { type Coupon, expiryOf } from './coupon.ts'

interface CountedPolicy {
  id: number
  issuedBefore: number
  discountType: Coupon['discountType']
  discountValue: number
  validDays: number
}

/**
 * Counts the grants of each policy and inserts their coupons, behind the locks of the policies. `places` are those of
 * the grants among those of their policy, from 1: the rank is the issued quantity of before and the place. A grant
 * outside of its policy's window finds no policy, and `require_rows` fails the transaction; so do the constraints for
 * a quantity above the total and for a user who holds a coupon already (CPN-3).
 */
const insertAdmitted = statement<
  {
    policyIds: string
    units: string
    couponIds: string
    policies: string
    userIds: string
    places: string
    times: string
    expected: number
  },
  CountedPolicy
>(sql`
  with policy as (
    update ${couponPolicies} set issued_quantity = issued_quantity + taken.units
    from unnest(${sql.placeholder('policyIds')}::text::bigint[], ${sql.placeholder('units')}::text::int[])
      as taken (id, units)
    where ${couponPolicies.id} = taken.id
    returning ${couponPolicies.id} as id, issued_quantity - taken.units as issued_before, discount_type, discount_value,
      issue_starts_at, issue_ends_at, valid_days),
  inserted as (
    insert into ${coupons} (id, policy_id, user_id, rank, issued_at, expires_at)
    select admitted.id, policy.id, admitted.user_id, policy.issued_before + admitted.place, at.issued_at,
      at.issued_at + policy.valid_days * interval '24 hours'
    from unnest(${sql.placeholder('couponIds')}::text::uuid[], ${sql.placeholder('policies')}::text::bigint[],
        ${sql.placeholder('userIds')}::text::bigint[], ${sql.placeholder('places')}::text::int[],
        ${sql.placeholder('times')}::text::double precision[])
      as admitted (id, policy_id, user_id, place, issued_at_ms)
    cross join lateral (select to_timestamp(admitted.issued_at_ms / 1000) as issued_at) as at
    join policy on policy.id = admitted.policy_id
      and at.issued_at >= policy.issue_starts_at and at.issued_at < policy.issue_ends_at
    returning 1)
  select asked.id as "id", policy.issued_before as "issuedBefore", policy.discount_type as "discountType",
    policy.discount_value as "discountValue", policy.valid_days as "validDays",
    require_rows((select count(*) from inserted), ${sql.placeholder('expected')}::int)
  from unnest(${sql.placeholder('policyIds')}::text::bigint[]) as asked (id) left join policy on policy.id = asked.id`)

/**
 * Writes grants as Redis admitted them, in one trip to Postgres: the lock of a policy is then held for what Postgres
 * does, and not for a round trip to a process that has other things to do as well.
 *
 * Nothing is decided here. Where Postgres has it otherwise than Redis the transaction fails as a whole (`isRuleBroken`),
 * and `decideGrants` has to say what each is to be told.
 */
export async function commitAdmitted(
  transactions: Transactions,
  grants: PolicyGrant[],
): Promise<GrantOutcome[]> {
  const units = new Map<number, number>()
  const places = grants.map(({ policyId }) => {
    const place = (units.get(policyId) ?? 0) + 1
    units.set(policyId, place)
    return place
  })
  const policyIds = [...units.keys()]
  const { counted } = await transactions.run(async (tx) => {
    tx.write(lockPolicies, { ids: bigints(policyIds) })
    // In an object, as nobody waits for it before COMMIT is on its way.
    return {
      counted: tx.read(insertAdmitted, {
        policyIds: bigints(policyIds),
        units: bigints([...units.values()]),
        couponIds: uuids(grants.map(({ couponId }) => couponId)),
        policies: bigints(grants.map(({ policyId }) => policyId)),
        userIds: bigints(grants.map(({ userId }) => userId)),
        places: bigints(places),
        times: bigints(grants.map(({ issuedAtMs }) => issuedAtMs)),
        expected: grants.length,
      }),
    }
  })
  const policies = new Map((await counted).map((policy) => [policy.id, policy]))
  return grants.map(({ couponId, policyId, userId, issuedAtMs }, index) => {
    const policy = policies.get(policyId) as CountedPolicy
    return {
      coupon: {
        id: couponId,
        policyId,
        userId,
        rank: policy.issuedBefore + (places[index] as number),
        status: 'AVAILABLE',
        discountType: policy.discountType,
        discountValue: policy.discountValue,
        issuedAt: new Date(issuedAtMs),
        expiresAt: new Date(expiryOf(policy, issuedAtMs)),
        usedAt: null,
        orderId: null,
      },
    }
  })
}
