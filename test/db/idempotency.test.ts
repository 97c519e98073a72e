import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Answer, type CallId, type IdempotentCall, openAnswerBook } from '../../src/db/idempotency.ts'
import { writeOnce } from '../../src/db/write-once.ts'
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

it('[ALL-2] of two writes that meet with one key one takes effect, and the other gets its answer', async () => {
  const call: IdempotentCall<{ n: number }> = {
    userId: 3,
    route: 'POST /c',
    key: 'k',
    fingerprint: 'f',
    render: ({ n }) => ({ status: 201, answer: JSON.stringify({ n }) }),
  }
  const both = Promise.withResolvers<void>()
  let writing = 0
  // Each is past its look for a kept answer when it writes, so that only the key can keep the second one out.
  const write = async () => {
    const n = ++writing
    if (n === 2) both.resolve()
    await both.promise
    return { n }
  }
  const once = () => writeOnce(harness.deps.transactions, call, new Date(), write)
  const [first, second] = await Promise.all([once(), once()])
  const done = 'n' in first ? first : second
  const replayed = 'n' in first ? second : first
  expect(replayed).toEqual({ replay: { status: 201, answer: JSON.stringify(done) } })
})
