import { expect, test } from 'vitest'
import { HELP, readOptions } from '../../scripts/bench/options.ts'
import { scenarios } from '../../scripts/bench/scenarios.ts'
import { UsageError } from '../../scripts/exit-code.ts'
import { runTool } from '../setup/tool.ts'

test('without options everything runs, four times, over 256 connections', () => {
  const options = readOptions([])
  expect(options).toMatchObject({ seconds: 1, rounds: 4, connections: 256, isAll: true, write: false })
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

test('--help goes with anything', () => {
  expect(readOptions(['--help']).help).toBe(true)
  expect(HELP).toMatch(/^Usage: npm run bench/)
  for (const { name, about } of scenarios) expect(HELP).toMatch(new RegExp(`^ +${name} +${about}$`, 'm'))
})

test.each([
  ['bench.ts', ['--duration', 'long'], '--duration'],
  ['demo.ts', ['--users', '0'], '--users'],
  ['bench/artillery/sale.ts', [], 'ADMIN_TOKEN'],
])('%s tells what is wrong with its call', async (tool, args, what) => {
  const { code, stderr } = await runTool(tool, args, { BASE_URL: 'http://127.0.0.1:1' })
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(what) })
  expect(stderr).toContain('Usage: npm run ')
})
