import { z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import type { HttpEnv } from './frame.ts'
import { maxTimeMs } from './openapi.ts'
import { invalid } from './problem.ts'

/** `?limit=` and `?cursor=` of a list, as the OpenAPI document has them. */
export const pageQuery = z.object({
  limit: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a whole number from 1 to 100')
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= 100, 'must be from 1 to 100')
    .default(20)
    .openapi({ type: 'integer', minimum: 1, maximum: 100, default: 20 }),
  cursor: z.string().max(200).optional().openapi({ description: 'nextCursor of the page before' }),
})

/** A point in time in a cursor, ms: none that Postgres could not take. */
export const timeInCursor = z.int().min(0).max(maxTimeMs)

/** The schema of a list answer. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() })
}

/**
 * Makes a page out of `limit + 1` rows: the extra row shows that there is more. `keyOf` gives the parts of the sort
 * key, which the cursor carries.
 */
export function toPage<Row>(rows: Row[], limit: number, keyOf: (row: Row) => (string | number)[]) {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  const nextCursor = rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : null
  return { items, nextCursor }
}

function encodeCursor(parts: (string | number)[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url')
}

/**
 * Reads a cursor back with the schema of its parts: undefined where none was given, and the answer 400 where it is none
 * of this list.
 */
export function readCursor<Parts>(c: Context<HttpEnv>, cursor: string | undefined, parts: z.ZodType<Parts>) {
  if (cursor === undefined) return undefined
  return (
    decodeCursor(cursor, parts) ?? invalid(c, [{ path: 'cursor', message: 'is not a cursor of this list' }])
  )
}

function decodeCursor<Parts>(cursor: string, parts: z.ZodType<Parts>): Parts | undefined {
  try {
    return parts.safeParse(JSON.parse(Buffer.from(cursor, 'base64url').toString())).data
  } catch {
    return undefined
  }
}
