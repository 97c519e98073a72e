import type { Line, StockEntry } from '../../src/redis/stock-scripts.ts'

/** What a script would leave in pending under the id of the entry, as if it had done so at `madeAtMs`. */
export function stockEntryText(
  { kind, orderId, lines }: Omit<StockEntry, 'id'> & { lines: Line[] },
  madeAtMs: number,
): string {
  const pairs = lines.flatMap(({ productId, quantity }) => [productId, quantity])
  return ['madeAt', madeAtMs, 'kind', kind, 'orderId', orderId, 'lines', ...pairs].join(' ')
}

/** What coupon.issue would leave in pending under the id of the user, as if it had done so at `issuedAtMs`. */
export function grantText(couponId: string, issuedAtMs: number): string {
  return `madeAt ${issuedAtMs} couponId ${couponId}`
}
