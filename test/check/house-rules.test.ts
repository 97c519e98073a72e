// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the samples are source text
import { describe, expect, it } from 'vitest'
import * as code from '../../scripts/check/code.ts'
import * as imports from '../../scripts/check/imports.ts'
import * as requirements from '../../scripts/check/requirements.ts'
import { type Rule, type SourceFile, split } from '../../scripts/check/source.ts'
import * as tests from '../../scripts/check/tests.ts'
import * as text from '../../scripts/check/text.ts'

type Sample = { bad: Files[]; good: Files[] }
type Files = Record<string, string>

const groups: Record<string, Rule> = { ...code, ...imports, ...tests, ...text, ...requirements }
const lines = (count: number) => 'x\n'.repeat(count)
// What the text rules look for is put together here, so that this file passes them.
const joined = (...parts: string[]) => parts.join('')

const SAMPLES: Record<string, Sample> = {
  envOnlyInEnv: {
    bad: [
      { 'src/app.ts': 'const port = process.env.PORT' },
      { 'src/app.ts': "const port = process['env'].PORT" },
      { 'src/app.ts': 'const { env } = process' },
      { 'src/app.ts': "import { env } from 'node:process'" },
    ],
    good: [
      { 'src/env.ts': 'process.env' },
      { 'scripts/start.ts': 'process.env' },
      {
        'src/app.ts': "// process.env is read in env.ts\nimport { env } from './env.ts'\nlog('process.env')",
      },
    ],
  },
  keysOnlyInKeys: {
    bad: [
      { 'src/coupon/coupon.ts': 'const key = `coupon:{${id}}:policy`' },
      { 'src/coupon/coupon.ts': "const key = 'stock:{' + shard" },
      { 'src/coupon/coupon.ts': 'const key = `${prefix}:{${id}}`' },
    ],
    good: [
      { 'src/redis/keys.ts': 'const key = `coupon:{${id}}:policy`' },
      {
        'src/coupon/coupon.ts':
          '// coupon:{p}:policy\nconst a = { coupon:{ id } }\nlog(`{"a":{"id":${id}}}`)',
      },
    ],
  },
  noEmptyCatch: {
    bad: [
      { 'src/app.ts': 'try { run() } catch {}' },
      { 'test/a.test.ts': 'try { run() } catch (error) {\n}' },
      { 'scripts/a.ts': 'run().catch(() => {})' },
    ],
    good: [{ 'src/app.ts': "try { run() } catch { /* closed already */ }\nlog('catch {}')" }],
  },
  noTypeSilencing: {
    bad: [{ 'src/app.ts': '// @ts-ignore' }, { 'src/app.ts': '/* @ts-nocheck */' }],
    good: [{ 'src/app.ts': "// @ts-expect-error the driver's types are older\nlog('@ts-ignore')" }],
  },
  exportsAreDocumented: {
    bad: [
      { 'src/app.ts': 'export function a() {}' },
      { 'src/app.ts': '// a line is not enough\nexport async function a() {}' },
      { 'src/app.ts': 'export const a = async (b: { c: string }): Promise<void> => {}' },
      { 'src/app.ts': '/** Far away. */\n\nexport const a: Handler = (c) => c' },
      { 'src/app.ts': '/** Of b. */\nconst b = 1\nexport function* a() {}' },
    ],
    good: [
      {
        'src/app.ts':
          '/**\n * Sums.\n */\nexport function a(b: number): number\nexport function a(b: string) {}',
      },
      { 'src/app.ts': '/** Sums. */\n// biome-ignore lint: why\nexport const a = <T>(b: T) => b' },
      { 'src/app.ts': 'export const a = (1 + 2) * 3\nfunction b() {}\nconst c = () => 1' },
      { 'scripts/a.ts': 'export function a() {}' },
    ],
  },
  importDirection: {
    bad: [
      { 'src/commit/queue.ts': "import { coupons } from '../db/schema/coupons.ts'" },
      { 'src/commit/queue.ts': "import type { Coupon } from '../coupon/coupon.ts'" },
      { 'src/redis/client.ts': "import { issue } from '../coupon/coupon.ts'" },
      { 'src/redis/client.ts': "const db = await import('../db/client.ts')" },
      { 'src/db/client.ts': "export * from '../redis/client.ts'" },
      { 'src/db/client.ts': "import '../http/problem.ts'" },
      { 'src/db/schema/coupons.ts': "import { env } from '../../env.ts'" },
      { 'src/coupon/coupon.ts': "import {\n  problem,\n} from '../http/problem.ts'" },
      { 'src/coupon/order.routes.ts': "import { problem } from '../http/problem.ts'" },
      { 'src/order/order.ts': "import { app } from '../app.ts'" },
      { 'src/app.ts': "import { start } from '../scripts/start.ts'" },
      { 'src/extras/a.ts': '' },
    ],
    good: [
      {
        'src/commit/queue.ts':
          "import { AppError } from '../errors.ts'\nimport a from 'node:fs'\nimport b from 'pino'",
      },
      { 'src/coupon/coupon.routes.ts': "import { problem } from '../http/problem.ts'" },
      {
        'src/order/order.ts':
          "import { queue } from '../commit/queue.ts'\nimport { use } from '../coupon/coupon.ts'",
      },
      {
        'src/redis/client.ts':
          "import { env } from '../env.ts'\n// import '../db/client.ts'\nlog(\"import '../db/a.ts'\")",
      },
      {
        'src/deps.ts': "import { open } from './redis/client.ts'",
        'src/db/schema/a.ts': "import { b } from './b.ts'",
      },
      { 'src/http/openapi.ts': "import manifest from '../../package.json' with { type: 'json' }" },
    ],
  },
  noImportCycles: {
    bad: [
      {
        'src/a.ts': "import './b.ts'",
        'src/b.ts': "export { c } from './c.ts'",
        'src/c.ts': "import a from './a.ts'",
      },
    ],
    good: [
      { 'src/a.ts': "import { b } from './b.ts'", 'src/b.ts': "import type { A } from './a.ts'" },
      { 'src/a.ts': "import './b.ts'\nimport './c.ts'", 'src/b.ts': "import './c.ts'", 'src/c.ts': '' },
    ],
  },
  everyTestRuns: {
    bad: [
      { 'test/a.test.ts': "it.skip('a', run)" },
      { 'test/a.test.ts': "describe.only.each([1])('a', run)" },
      { 'test/a.test.ts': "it.todo('a')" },
      { 'vitest.config.ts': 'export default { test: { retry: 2 } }' },
    ],
    good: [{ 'test/a.test.ts': "it('skips .only( the taken', () => run({ retryAfter: 1 })) // .skip(" }],
  },
  noFixedSleep: {
    bad: [
      { 'test/a.test.ts': 'await new Promise((resolve) => setTimeout(resolve, 100))' },
      { 'test/a.test.ts': 'await sleep(1_000)' },
      { 'test/setup/a.ts': "setTimeout(() => { run(1, 'a, b') }, 5 * 1000)" },
    ],
    good: [
      { 'test/a.test.ts': 'setTimeout(resolve, 20); setTimeout(resolve, ms)' },
      { 'test/a.test.ts': "setTimeout(() => reject(new Error('too late')), 5000)" },
    ],
  },
  noVagueNames: {
    bad: [
      { 'src/utils.ts': '' },
      { 'src/order/order.types.ts': '' },
      { 'test/helpers/a.ts': '' },
      { 'lua/common.lua': '' },
    ],
    good: [{ 'src/order/order.ts': '', 'docs/types.md': '', 'test/setup/services.ts': '' }],
  },
  fileSize: {
    bad: [{ 'src/a.ts': lines(301) }, { 'lua/a.lua': lines(301) }, { 'test/a.test.ts': lines(401) }],
    good: [{ 'src/a.ts': lines(300), 'test/a.test.ts': lines(400), 'docs/a.md': lines(500) }],
  },
  noUnfinishedWork: {
    bad: [
      { 'src/a.ts': joined('// TO', 'DO later') },
      { 'lua/a.lua': joined('-- FIX', 'ME') },
      { 'README.md': joined('Not imple', 'mented yet') },
      { 'docs/a.md': joined('a place', 'holder') },
    ],
    good: [{ 'src/a.ts': joined('sql.place', "holder('id')"), 'test/a.test.ts': joined('// TO', 'DO') }],
  },
  exactDependencies: {
    bad: [
      { 'package.json': '{ "dependencies": { "hono": "^4.0.0" } }' },
      { 'package.json': '{ "devDependencies": { "vitest": "latest" } }' },
    ],
    good: [{ 'package.json': '{ "dependencies": { "a": "1.2.3", "b": "1.0.0-beta.1" } }' }],
  },
  lockWithoutAddresses: {
    bad: [{ 'package-lock.json': '{ "resolved": "https://example.com/a.tgz" }' }],
    good: [{ 'package-lock.json': '{ "integrity": "sha512-a" }' }],
  },
  noRegistryAddress: {
    bad: [
      { 'README.md': joined('see https://reg', 'istry.example.com/a') },
      { '.npmrc': joined('regis', 'try=x') },
      { '.ci/run': joined('npm ci --regis', 'try x') },
    ],
    good: [
      {
        '.npmrc': 'omit-lockfile-registry-resolved=true',
        'README.md': 'https://nodejs.org, the schema registry',
      },
    ],
  },
  noMachinePath: {
    bad: [{ 'docs/a.md': joined('in /ro', 'ot/a') }, { 'src/a.ts': joined("open('/ho", "me/kim/a')") }],
    good: [{ 'docs/a.md': 'src/root/a, ../work/a, https://example.com/home/a and $HOME' }],
  },
  titlesNameRequirements: {
    bad: [
      { 'test/coupon/a.test.ts': "it('issues', run)" },
      { 'test/race/a.test.ts': "test('[CPN-9] issues', run)" },
      { 'test/race/a.test.ts': "it.each<[string, (a: number) => Map<string, B>]>([])('issues %s', run)" },
      { 'test/model/a.test.ts': "it.each([[1]])('takes %i', run)" },
      { 'test/fault/a.test.ts': "it(\n  // why\n  '[CPN-1 ALL-1] issues', run)" },
    ],
    good: [
      {
        'test/coupon/a.test.ts':
          "it('[CPN-3] issues', run)\ntest.each([1])('[ALL-1, CPN-3] %i', run)\nit(title, run)",
      },
      { 'test/commit/a.test.ts': "it('commits', run)", 'test/coupon/setup.ts': "it('x')" },
      { 'test/coupon/a.test.ts': "emit('x'); /a/.test('b'); submit.it('c')" },
    ],
  },
  requirementsMapHolds: {
    bad: [
      { 'docs/requirements.md': 'CPN-1', 'test/coupon/a.test.ts': "it('[CPN-2] issues', run)" },
      { 'docs/requirements.md': 'CPN-1: `test/coupon/gone.test.ts`' },
    ],
    good: [
      { 'test/coupon/a.test.ts': "it('[CPN-2] issues', run)" },
      {
        'docs/requirements.md': '[CPN-2](../test/coupon/a.test.ts), test/race/*.test.ts',
        'test/coupon/a.test.ts': "it('[CPN-2] a', run)",
      },
    ],
  },
}

const run = (rule: string, files: Files) =>
  groups[rule]?.(Object.entries(files).map(([path, content]): SourceFile => ({ path, text: content })))

describe('house rules', () => {
  it('have samples, every one of them', () => {
    expect(Object.keys(SAMPLES).sort()).toEqual(Object.keys(groups).sort())
  })

  describe.each(Object.entries(SAMPLES))('%s', (rule, { bad, good }) => {
    it.each(bad)('flags %j once', (files) => {
      expect(run(rule, files)).toHaveLength(1)
    })
    it.each(good)('passes %j', (files) => {
      expect(run(rule, files)).toEqual([])
    })
  })

  it('report the path, the line and what to do', () => {
    expect(run('envOnlyInEnv', { 'src/app.ts': '\n\nprocess.env' })).toEqual([
      { path: 'src/app.ts', line: 3, rule: 'env-reader', advice: expect.stringContaining('src/env.ts') },
    ])
  })
})

describe('split', () => {
  it.each([
    ["a('b') // c", "a(' ')     "],
    ['a(`b${c}d`) /* e */', 'a(` ${c} `)        '],
    ['`${`${{ a: {} }}`}`+b', '`${`${{ a: {} }}`}`+b'],
    ["a / b / c + 'd'", "a / b / c + ' '"],
    ["x = /['\"/*]/.exec(y) // '", 'x =         .exec(y)     '],
    ["'it\\'s' + \"//\"", '\'     \' + "  "'],
    ['#!/usr/bin/node\na', '               \na'],
  ])('keeps only the code of %j', (source, expected) => {
    expect(split(source).code).toBe(expected)
  })
})
