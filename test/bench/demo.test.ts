import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Told } from '../../scripts/demo/crowd.ts'
import { frameOf } from '../../scripts/demo/display.ts'
import { judge } from '../../scripts/demo/verdict.ts'
import { emptyFolder } from '../setup/folder.ts'
import { runTool } from '../setup/tool.ts'

const sale = { users: 10_000, coupons: 100, units: 50 }
const told = (changes: Partial<Told> = {}): Told => ({
  charged: 10_000,
  done: 10_000,
  issued: 100,
  soldOut: 9900,
  paid: 50,
  tooLate: 9950,
  unexpected: new Map(),
  requests: 30_000,
  retries: 0,
  latenciesMs: [],
  ...changes,
})
const held = (changes = {}) => ({
  remainingCoupons: 0,
  stock: 0,
  audit: { ok: true, at: new Date(0), rules: [], changes: [] },
  ...changes,
})

test('the demo sells exactly what there is, and leaves nothing', { timeout: 240_000 }, async () => {
  const folder = await emptyFolder()
  const { code, stdout, stderr } = await runTool(
    'demo.ts',
    ['--users', '400', '--coupons', '30', '--units', '20'],
    { TMPDIR: folder },
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const found = Object.fromEntries(
    [...stdout.matchAll(/^\S*[✓✗]\S* (.+?) +([\d,]+)$/gm)].map(([, what, number]) => [what, number]),
  )
  expect(found).toEqual({
    'users told: coupon issued': '30',
    'users told: sold out': '370',
    'users told: order PAID': '20',
    'users told: too late': '380',
    'any other answer': '0',
    'coupons left': '0',
    'units left': '0',
    'rules broken in the audit': '0',
  })
  expect(stdout).toContain('exact: every number is what it must be')
  expect(await readdir(folder)).toEqual([])
})

test('one coupon or unit too many, or too few, is not exact', () => {
  expect(judge(sale, told(), held()).isExact).toBe(true)
  const broken = { ok: false, at: new Date(0), rules: [], changes: [] }
  const wrong = [
    judge(sale, told({ issued: 101, soldOut: 9899 }), held()),
    judge(sale, told({ paid: 49, tooLate: 9951 }), held()),
    judge(sale, told({ tooLate: 9949, unexpected: new Map([['503 UNAVAILABLE', 1]]) }), held()),
    judge(sale, told(), held({ stock: 1 })),
    judge(sale, told(), held({ remainingCoupons: 1 })),
    judge(sale, told(), held({ audit: broken })),
  ]
  expect(wrong.map(({ isExact }) => isExact)).toEqual(wrong.map(() => false))
})

test('with fewer users than coupons all get one', () => {
  const few = judge(
    { users: 5, coupons: 100, units: 50 },
    told({ issued: 5, soldOut: 0, paid: 5, tooLate: 0 }),
    held({ remainingCoupons: 95, stock: 45 }),
  )
  expect(few.isExact).toBe(true)
})

test('the picture shows how far the sale is', () => {
  const scene = { ...sale, stage: 'selling' as const, step: 'the doors are open', told: told({ issued: 50 }) }
  const frame = frameOf(scene, 1.5, [0, 10, 20]).join('\n')
  expect(frame).toContain('50 issued')
  expect(frame).toContain('50 paid')
  expect(frame).toContain('the doors are open')
})
