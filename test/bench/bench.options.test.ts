import { expect, test } from 'vitest'
import { readOptions } from '../../scripts/bench/options.ts'
import { scenarios } from '../../scripts/bench/scenarios.ts'
import { UsageError } from '../../scripts/store-tool.ts'
import { runTool } from '../setup/tool.ts'

test('without options everything runs, twice, over 256 connections', () => {
  const options = readOptions([])
  expect(options).toMatchObject({ seconds: 2, rounds: 2, connections: 256, isAll: true, write: false })
  expect(options.scenarios).toBe(scenarios)
})

test('scenarios run in their own order, whatever the order they are asked for in', () => {
  const { scenarios: chosen, isAll } = readOptions(['--scenario', 'order-hot, coupon-issue'])
  expect(chosen.map(({ name }) => name)).toEqual(['coupon-issue', 'order-hot'])
  expect(isAll).toBe(false)
})

test.each([
  [['--scenario', 'coupon']],
  [['--scenario', '']],
  [['--duration', '0']],
  [['--duration', '']],
  [['--duration', 'two']],
  [['--rounds', '1.5']],
  [['--connections', '-1']],
  [['--unknown']],
  [['coupon-issue']],
])('%j is refused', (args) => {
  expect(() => readOptions(args)).toThrow(UsageError)
})

test.each(['bench.ts', 'demo.ts', 'bench/artillery/sale.ts'])(
  '%s tells how it is used, and what is wrong',
  async (tool) => {
    const [help, wrong] = await Promise.all([runTool(tool, ['--help']), runTool(tool, ['--nonsense'])])
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: npm run ') })
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage: npm run ') })
  },
)

test('Artillery wants the token of a service that it is pointed at', async () => {
  const { code, stderr } = await runTool('bench/artillery/sale.ts', [], { BASE_URL: 'http://127.0.0.1:1' })
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('ADMIN_TOKEN') })
})
