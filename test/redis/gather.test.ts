import { expect, it } from 'vitest'
import { gather } from '../../src/redis/gather.ts'

it('joins the calls of one turn about the same thing, in order, and gives each its answer', async () => {
  const runs: [number, string[]][] = []
  const ask = gather<number, string, string>(3, async (about, calls) => {
    runs.push([about, calls])
    return calls.map((call) => `${about}${call}`)
  })
  const first = [ask(1, 'a'), ask(2, 'b'), ask(1, 'c'), ask(1, 'd'), ask(1, 'e')]
  // As many as a run takes do not wait for the end of the turn.
  expect(runs).toEqual([[1, ['a', 'c', 'd']]])
  expect(await Promise.all(first)).toEqual(['1a', '2b', '1c', '1d', '1e'])
  expect(runs).toEqual([
    [1, ['a', 'c', 'd']],
    [2, ['b']],
    [1, ['e']],
  ])
  expect(await ask(1, 'f')).toBe('1f')
  expect(runs).toHaveLength(4)
})

it('tells each call of a run that failed, and no other', async () => {
  const ask = gather<number, string, string>(2, async (_about, calls) => {
    if (calls.includes('bad')) throw new Error('away')
    return calls
  })
  const answers = await Promise.allSettled([ask(1, 'a'), ask(1, 'bad'), ask(1, 'b'), ask(2, 'c')])
  expect(answers.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled', 'fulfilled'])
})
