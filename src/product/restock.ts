import { sql } from 'drizzle-orm'
import { NotCommitted } from '../db/failure.ts'
import { abandonedEntries, products, restocks } from '../db/schema/index.ts'
import { statement } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'
import { type Refusal, refuse } from '../errors.ts'

/** The most that a product's stock can be, units. */
export const maxStock = 1_000_000_000

const lockProduct = statement<{ id: number }, { stock: number }>(sql`
  select ${products.stock} as "stock" from ${products} where ${products.id} = ${sql.placeholder('id')}::bigint
  for no key update`)

const findFence = statement<{ id: string }, { id: string }>(sql`
  select ${abandonedEntries.id} as "id" from ${abandonedEntries}
  where ${abandonedEntries.id} = ${sql.placeholder('id')}::uuid`)

const raiseStock = statement<{ productId: number; quantity: number }, never>(sql`
  update ${products} set stock = stock + ${sql.placeholder('quantity')}::int
  where ${products.id} = ${sql.placeholder('productId')}::bigint`)

const insertRestock = statement<{ id: string; productId: number; quantity: number; at: string }, never>(sql`
  insert into ${restocks} (id, product_id, quantity, created_at)
  values (${sql.placeholder('id')}::uuid, ${sql.placeholder('productId')}::bigint, ${sql.placeholder('quantity')}::int,
    ${sql.placeholder('at')}::text::timestamptz)`)

/**
 * Raises the stock of a product inside `tx`, or gives why not; `id` is that of the entry announced in Redis.
 * @throws NotCommitted when recovery has given that entry up
 */
export async function commitRestock(
  tx: Transaction,
  restock: { id: string; productId: number; quantity: number; at: Date },
): Promise<Refusal<'PRODUCT_NOT_FOUND' | 'VALIDATION_FAILED'> | undefined> {
  const { id, productId, quantity, at } = restock
  const [[product], fences] = await Promise.all([
    tx.read(lockProduct, { id: productId }),
    tx.read(findFence, { id }),
  ])
  if (!product) return refuse('PRODUCT_NOT_FOUND')
  if (fences.length > 0) throw new NotCommitted('the restock took so long that recovery gave it up')
  if (product.stock + quantity > maxStock) {
    return refuse('VALIDATION_FAILED', undefined, {
      errors: [{ path: 'quantity', message: `a product has at most ${maxStock} units` }],
    })
  }
  tx.write(raiseStock, { productId, quantity })
  tx.write(insertRestock, { id, productId, quantity, at: at.toISOString() })
  return undefined
}
