import { asc, gt, sql } from 'drizzle-orm'
import type { Database } from '../db/client.ts'
import { orders, products, restocks } from '../db/schema/index.ts'
import { bigints, statement } from '../db/statement.ts'
import type { Transaction } from '../db/transactions.ts'
import type { StockEntry } from '../redis/stock-scripts.ts'
import type { Product } from './product.ts'

const productColumns = { id: products.id, name: products.name, price: products.price }

const insertProductRow = statement<Omit<Product, 'id'> & { stock: number; at: string }, Product>(sql`
  insert into ${products} (name, price, stock, initial_stock, created_at)
  values (${sql.placeholder('name')}::text, ${sql.placeholder('price')}::bigint, ${sql.placeholder('stock')}::int,
    ${sql.placeholder('stock')}::int, ${sql.placeholder('at')}::text::timestamptz)
  returning id, name, price`)

/** Inserts a product with its first stock inside `tx`. */
export async function insertProduct(
  tx: Transaction,
  product: Omit<Product, 'id'> & { stock: number },
  now: Date,
): Promise<Product> {
  const [row] = await tx.read(insertProductRow, { ...product, at: now.toISOString() })
  return row as Product
}

/** Reads a product, or undefined when there is none. */
export async function findProduct(db: Database, productId: number): Promise<Product | undefined> {
  return (await findProducts(db, [productId]))[0]
}

/** Those of the products that exist. */
export async function findProducts(db: Database, ids: number[]): Promise<Product[]> {
  return db
    .select(productColumns)
    .from(products)
    .where(sql`${products.id} = any(${bigints(ids)}::text::bigint[])`)
}

/** Products by id, a page after `afterId`. */
export async function listProducts(db: Database, afterId: number, limit: number): Promise<Product[]> {
  return db
    .select(productColumns)
    .from(products)
    .where(gt(products.id, afterId))
    .orderBy(asc(products.id))
    .limit(limit)
}

/** Ids and stock of products by id, a page after `afterId`. */
export async function listStock(
  db: Database,
  afterId: number,
  limit: number,
): Promise<{ id: number; stock: number }[]> {
  return db
    .select({ id: products.id, stock: products.stock })
    .from(products)
    .where(gt(products.id, afterId))
    .orderBy(asc(products.id))
    .limit(limit)
}

/** What Postgres knows of products and of pending entries, from one snapshot. */
export interface StockSnapshot {
  /** stock by product id; a product that does not exist is not in it */
  stock: Map<number, number>
  /** the entries whose effect is in that stock, by id */
  effective: Set<string>
}

/** Reads the stock of products and which of `entries` it includes. One statement, so one snapshot. */
export async function readStockSnapshot(
  db: Database,
  productIds: number[],
  entries: StockEntry[],
): Promise<StockSnapshot> {
  const orderIds = [...new Set(entries.filter(({ orderId }) => orderId !== '').map(({ orderId }) => orderId))]
  const restockIds = entries.filter(({ kind }) => kind === 'restock').map(({ id }) => id)
  const list = (ids: (string | number)[]) => `{${ids.join()}}`
  const [row] = await db.execute<{
    stock: [number, number][] | null
    orders: [string, string, string | null][] | null
    restocks: string[] | null
  }>(sql`select
    (select json_agg(json_build_array(${products.id}, ${products.stock})) from ${products}
      where ${products.id} = any(${list(productIds)}::text::bigint[])) as stock,
    (select json_agg(json_build_array(${orders.id}, ${orders.status}, ${orders.cancellationId})) from ${orders}
      where ${orders.id} = any(${list(orderIds)}::text::uuid[])) as orders,
    (select json_agg(${restocks.id}) from ${restocks}
      where ${restocks.id} = any(${list(restockIds)}::text::uuid[])) as restocks`)
  const known: KnownEffects = {
    orders: new Map(
      (row?.orders ?? []).map(([id, status, cancellationId]) => [id, { status, cancellationId }]),
    ),
    restocks: new Set(row?.restocks ?? []),
  }
  return {
    stock: new Map(row?.stock ?? []),
    effective: new Set(entries.filter((entry) => isEffective(entry, known)).map(({ id }) => id)),
  }
}

/** Orders and restocks that Postgres has. */
export interface KnownEffects {
  orders: Map<string, { status: string; cancellationId: string | null }>
  restocks: Set<string>
}

/** Whether Postgres has the effect of an entry: the stock taken by a paid order, or brought by the other two. */
export function isEffective(
  entry: Pick<StockEntry, 'kind' | 'id' | 'orderId'>,
  known: KnownEffects,
): boolean {
  const order = known.orders.get(entry.orderId)
  switch (entry.kind) {
    case 'reserve':
      return order?.status === 'PAID' || order?.status === 'CANCELED'
    case 'cancel':
      return order?.cancellationId === entry.id
    case 'restock':
      return known.restocks.has(entry.id)
  }
}
