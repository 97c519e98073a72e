import { and, asc, desc, eq, gt, lt, lte, max, or, type SQL, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { type CouponRow, type CouponStatus, couponPolicies, coupons } from '../db/schema/index.ts'
import { bigints, statement, uuids } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'
import type { CouponPolicy } from './coupon.ts'

const policyColumns = {
  id: couponPolicies.id,
  name: couponPolicies.name,
  discountType: couponPolicies.discountType,
  discountValue: couponPolicies.discountValue,
  totalQuantity: couponPolicies.totalQuantity,
  issueStartsAt: couponPolicies.issueStartsAt,
  issueEndsAt: couponPolicies.issueEndsAt,
  validDays: couponPolicies.validDays,
}

const insertPolicyRow = statement<
  Omit<CouponPolicy, 'id' | 'issueStartsAt' | 'issueEndsAt'> & Record<'startsAt' | 'endsAt' | 'at', string>,
  { id: number }
>(sql`
  insert into ${couponPolicies}
    (name, discount_type, discount_value, total_quantity, issue_starts_at, issue_ends_at, valid_days, created_at)
  values (${sql.placeholder('name')}::text, ${sql.placeholder('discountType')}::text,
    ${sql.placeholder('discountValue')}::bigint, ${sql.placeholder('totalQuantity')}::int,
    ${sql.placeholder('startsAt')}::text::timestamptz, ${sql.placeholder('endsAt')}::text::timestamptz,
    ${sql.placeholder('validDays')}::int, ${sql.placeholder('at')}::text::timestamptz)
  returning id`)

/** Inserts a policy inside `tx` and gives its id. */
export async function insertPolicy(
  tx: Transaction,
  { issueStartsAt, issueEndsAt, ...policy }: Omit<CouponPolicy, 'id'>,
  now: Date,
): Promise<number> {
  const [row] = await tx.read(insertPolicyRow, {
    ...policy,
    startsAt: issueStartsAt.toISOString(),
    endsAt: issueEndsAt.toISOString(),
    at: now.toISOString(),
  })
  return (row as { id: number }).id
}

/** Reads a policy, or undefined when there is none. */
export async function findPolicy(db: Database, policyId: number): Promise<CouponPolicy | undefined> {
  const [row] = await db.select(policyColumns).from(couponPolicies).where(eq(couponPolicies.id, policyId))
  return row
}

/** Those of the policies that exist. */
export async function findPolicies(db: Database, ids: number[]): Promise<CouponPolicy[]> {
  return db
    .select(policyColumns)
    .from(couponPolicies)
    .where(sql`${couponPolicies.id} = any(${bigints(ids)}::text::bigint[])`)
}

/** Ids of the newest policies whose window ended after `endsFrom`, at most `limit`. */
export async function newestPolicyIds(db: Database, endsFrom: Date, limit: number): Promise<number[]> {
  const rows = await db
    .select({ id: couponPolicies.id })
    .from(couponPolicies)
    .where(gt(couponPolicies.issueEndsAt, endsFrom))
    .orderBy(desc(couponPolicies.id))
    .limit(limit)
  return rows.map(({ id }) => id)
}

/** Policies whose window ended at or after `endsFrom`, by id, a page after `afterId`. */
export async function listPolicies(
  db: Database,
  endsFrom: Date,
  afterId: number,
  limit: number,
): Promise<(CouponPolicy & { issuedQuantity: number })[]> {
  return db
    .select({ ...policyColumns, issuedQuantity: couponPolicies.issuedQuantity })
    .from(couponPolicies)
    .where(and(gt(couponPolicies.id, afterId), gt(couponPolicies.issueEndsAt, endsFrom)))
    .orderBy(asc(couponPolicies.id))
    .limit(limit)
}

/**
 * How many coupons of a policy are issued, and how many of `couponIds` are among them: one statement, so one snapshot.
 * One parameter for all ids, of which Postgres takes 65,535: processes that wait for the same policy may hold more. A look
 * into the index for each, as in `findHolders`.
 */
export async function countIssued(
  db: Database,
  policyId: number,
  couponIds: string[],
): Promise<{ issuedQuantity: number; committed: number }> {
  const committed = sql`(select count(*)
    from unnest(${uuids(couponIds)}::text::uuid[]) as asked (id)
    cross join lateral (select 1 from ${coupons} where ${coupons}.id = asked.id limit 1) as held)`
  const [row] = await db
    .select({
      issuedQuantity: couponPolicies.issuedQuantity,
      committed: sql<number>`${committed}`.mapWith(Number),
    })
    .from(couponPolicies)
    .where(eq(couponPolicies.id, policyId))
  return row ?? { issuedQuantity: 0, committed: 0 }
}

/**
 * The holders of a policy by rank, page by page. A page is a range of ranks, which have no gaps: with a LIMIT instead,
 * Postgres sorted all that was left for each page as long as it had no statistics, 80 s for a million. Without `upTo`,
 * what is issued while the pages are read comes too.
 */
export async function* pagesOfHolders(
  db: Database,
  policyId: number,
  perPage: number,
  ranks: { after?: number; upTo?: number } = {},
): AsyncGenerator<{ userId: number; couponId: string }[]> {
  let { after = 0 } = ranks
  for (let last = ranks.upTo ?? (await findLastRank(db, policyId)); after < last; ) {
    const upTo = Math.min(after + perPage, last)
    yield await db
      .select({ userId: coupons.userId, couponId: coupons.id })
      .from(coupons)
      .where(and(eq(coupons.policyId, policyId), gt(coupons.rank, after), lte(coupons.rank, upTo)))
    after = upTo
    if (after === last && ranks.upTo === undefined) last = await findLastRank(db, policyId)
  }
}

async function findLastRank(db: Database, policyId: number): Promise<number> {
  const [row] = await db
    .select({ last: max(coupons.rank) })
    .from(coupons)
    .where(eq(coupons.policyId, policyId))
  return row?.last ?? 0
}

/**
 * The coupon ids of those of `userIds` that hold one of the policy, by user id. One look into an index for each user:
 * with `user_id = any(…)` Postgres read all coupons, as long as it had no statistics, and parsed the list for each.
 */
export async function findHolders(
  db: Database,
  policyId: number,
  userIds: number[],
): Promise<Map<number, string>> {
  const rows = await db.execute<{ userId: number; couponId: string }>(sql`
    select asked.user_id as "userId", held.id as "couponId"
    from unnest(${bigints(userIds)}::text::bigint[]) as asked (user_id)
    cross join lateral (
      select ${coupons.id} from ${coupons}
      where ${coupons.policyId} = ${policyId} and ${coupons.userId} = asked.user_id
      limit 1) as held`)
  return new Map(rows.map(({ userId, couponId }) => [userId, couponId]))
}

/** The coupon of a user under a policy. */
export async function findHeldCoupon(
  db: Database,
  policyId: number,
  userId: number,
): Promise<CouponRow | undefined> {
  const [row] = await db
    .select()
    .from(coupons)
    .where(and(eq(coupons.policyId, policyId), eq(coupons.userId, userId)))
  return row
}

/** A coupon with its policy. */
export async function findCoupon(
  db: Database,
  couponId: string,
): Promise<{ coupon: CouponRow; policy: CouponPolicy } | undefined> {
  const [row] = await db
    .select({ coupon: coupons, policy: policyColumns })
    .from(coupons)
    .innerJoin(couponPolicies, eq(couponPolicies.id, coupons.policyId))
    .where(eq(coupons.id, couponId))
  return row
}

/** A user's coupons, newest first, those after `after`; `status` is the one at `now`. */
export async function listCoupons(
  db: Database,
  query: {
    userId: number
    status: CouponStatus | undefined
    after: { issuedAt: Date; id: string } | undefined
    limit: number
  },
  now: Date,
): Promise<{ coupon: CouponRow; policy: CouponPolicy }[]> {
  const { userId, status, after, limit } = query
  return db
    .select({ coupon: coupons, policy: policyColumns })
    .from(coupons)
    .innerJoin(couponPolicies, eq(couponPolicies.id, coupons.policyId))
    .where(
      and(
        eq(coupons.userId, userId),
        status && hasStatus(status, now),
        after &&
          or(
            lt(coupons.issuedAt, after.issuedAt),
            and(eq(coupons.issuedAt, after.issuedAt), lt(coupons.id, after.id)),
          ),
      ),
    )
    .orderBy(desc(coupons.issuedAt), desc(coupons.id))
    .limit(limit)
}

function hasStatus(status: CouponStatus, now: Date): SQL | undefined {
  if (status === 'AVAILABLE') return and(eq(coupons.status, 'AVAILABLE'), gt(coupons.expiresAt, now))
  if (status !== 'EXPIRED') return eq(coupons.status, status)
  return or(eq(coupons.status, 'EXPIRED'), and(eq(coupons.status, 'AVAILABLE'), lte(coupons.expiresAt, now)))
}

/** Cancels a coupon if it is AVAILABLE at `now`; gives whether it did. */
export async function cancelAvailable(db: Database, couponId: string, now: Date): Promise<boolean> {
  const rows = await db
    .update(coupons)
    .set({ status: 'CANCELED' })
    .where(and(eq(coupons.id, couponId), hasStatus('AVAILABLE', now)))
    .returning({ id: coupons.id })
  return rows.length === 1
}
