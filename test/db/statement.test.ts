import { sql } from 'drizzle-orm'
import { expect, it } from 'vitest'
import { coupons } from '../../src/db/schema/index.ts'
import { statement } from '../../src/db/statement.ts'

it('compiles columns and parameters once, numbering each use of a parameter', () => {
  const compiled = statement<{ id: string; user: number }, { id: string }>(sql`
    select ${coupons.id} from ${coupons}
    where ${coupons.userId} = ${sql.placeholder('user')} or ${coupons.id} = ${sql.placeholder('id')}
      or ${coupons.rank} = ${sql.placeholder('user')}`)
  expect(compiled.text.replaceAll(/\s+/g, ' ').trim()).toBe(
    'select "coupons"."id" from "coupons" where "coupons"."user_id" = $1 or "coupons"."id" = $2 or "coupons"."rank" = $3',
  )
  expect(compiled.bind({ id: 'b', user: 7 })).toEqual([7, 'b', 7])
  expect(compiled.bind({ user: 8, id: 'c' })).toEqual([8, 'c', 8])
})

it('binds a value of the template as it is, never as text of the statement', () => {
  const compiled = statement<{ name: string }, never>(
    sql`select ${"'; drop table coupons; --"}, ${sql.placeholder('name')}`,
  )
  expect(compiled.text).toBe('select $1, $2')
  expect(compiled.bind({ name: "o'clock" })).toEqual(["'; drop table coupons; --", "o'clock"])
})

it('refuses to bind without a value', () => {
  const compiled = statement<{ name?: string }, never>(sql`select ${sql.placeholder('name')}`)
  expect(() => compiled.bind({})).toThrow('No value for placeholder "name" was provided')
})
