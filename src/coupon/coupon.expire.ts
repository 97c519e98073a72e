import { sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { coupons } from '../db/schema/index.ts'

const couponsPerBatch = 1000
/** Batches of one run; the rest comes with the next run. */
const maxBatches = 1000

/**
 * Marks AVAILABLE coupons past their time as EXPIRED (CPN-5), in batches of one short statement each; a coupon that an
 * order holds locked is passed over until the next run. Reads show them as EXPIRED before. Gives how many it marked.
 */
export async function expireCoupons(db: Database, now: Date, signal?: AbortSignal): Promise<number> {
  let marked = 0
  for (let batch = 0; batch < maxBatches && !signal?.aborted; batch++) {
    const rows = await db.execute(sql`
      update ${coupons} set status = 'EXPIRED' where ${coupons.id} in (
        select ${coupons.id} from ${coupons}
        where ${coupons.status} = 'AVAILABLE' and ${coupons.expiresAt} <= ${now.toISOString()}::timestamptz
        order by ${coupons.expiresAt} limit ${couponsPerBatch} for update skip locked)
      returning 1`)
    marked += rows.length
    if (rows.length < couponsPerBatch) break
  }
  return marked
}
