import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Answer, type CallId, type IdempotentCall, openAnswerBook } from '../../src/db/idempotency.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

it('[ALL-2] answers are kept in the order of the whole key, whatever the order of the calls, as locks are', async () => {
  const inOrder: CallId[] = [
    { userId: 2, route: 'POST /a', key: 'k2' },
    { userId: 2, route: 'POST /b', key: 'k1' },
    { userId: 2, route: 'POST /b', key: 'k2' },
    { userId: 10, route: 'POST /a', key: 'k1' },
  ]
  const calls = inOrder
    .toReversed()
    .map((call): IdempotentCall<Answer> => ({ ...call, fingerprint: 'f', render: (answer) => answer }))
  await harness.deps.transactions.run(async (tx) => {
    const book = await openAnswerBook(tx, calls)
    for (const call of calls) book.keep(call, { status: 200, answer: '{}' }, new Date())
    book.write(tx)
  })
  const written = await harness.sql`select user_id, route, key from idempotency_keys order by ctid`
  expect(written.map(({ user_id, route, key }) => ({ userId: user_id, route, key }))).toEqual(inOrder)
})
