import type { Database } from '../db/client.ts'
import type { Scripts } from '../redis/scripts.ts'
import { pagesOfHolders } from './coupon.sql.ts'
import { type CouponPolicy, holdersExpireAt } from './coupon.ts'

const holdersPerPage = 5000
/** One call of the script takes Redis about a millisecond, and a page is far from the deadline of a command. */
const holdersPerCall = 500

/**
 * Writes the holders of a policy, or those of some `ranks`, into Redis, as committed, page by page; the next page is read
 * while one is written.
 * Safe while the policy is open, as Postgres never takes a coupon back: it overwrites with what is true. Gives how
 * many it wrote; `onWritten` hears of each page.
 */
export async function writeHolders(
  deps: { scripts: Scripts; db: Database },
  policy: CouponPolicy,
  options: {
    ranks?: { after: number; upTo: number }
    signal?: AbortSignal
    onWritten?: ((count: number) => void) | undefined
  } = {},
): Promise<number> {
  const { scripts, db } = deps
  const { ranks, signal, onWritten = () => undefined } = options
  const expireAt = holdersExpireAt(policy)
  let written = 0
  const pages = pagesOfHolders(db, policy.id, holdersPerPage, ranks)
  let page = await pages.next()
  while (!page.done && !signal?.aborted) {
    const holders = page.value
    const calls: Promise<void>[] = []
    for (let from = 0; from < holders.length; from += holdersPerCall) {
      calls.push(scripts.holdCoupons(policy.id, expireAt, holders.slice(from, from + holdersPerCall)))
    }
    ;[page] = await Promise.all([pages.next(), ...calls])
    written += holders.length
    onWritten(holders.length)
  }
  return written
}
