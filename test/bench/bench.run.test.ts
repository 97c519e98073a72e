import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import type { Report } from '../../scripts/bench/report.ts'
import { BARE, LOCK, SERVICE } from '../../scripts/bench/scenario.ts'
import { emptyFolder } from '../setup/folder.ts'
import { runTool } from '../setup/tool.ts'

/** Starting stores with all safety on takes its time on a busy machine. */
const timeout = 240_000
const short = ['--duration', '0.5', '--rounds', '1', '--connections', '8']

test('a run counts its rows in Postgres, holds clients and audit against them, and leaves nothing', {
  timeout,
}, async () => {
  const [folder, reports] = await Promise.all([emptyFolder(), emptyFolder()])
  const out = join(reports, 'report.json')
  const args = ['--scenario', 'coupon-issue', ...short, '--out', out]
  const { code, stdout, stderr } = await runTool('bench.ts', args, { TMPDIR: folder })
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) })

  const report = JSON.parse(await readFile(out, 'utf8')) as Report
  expect(report.faults).toEqual([])
  const targets = report.scenarios[0]?.targets ?? []
  expect(targets.map(({ target }) => target)).toEqual([BARE, LOCK, SERVICE])
  for (const { target, rounds } of targets.slice(1)) {
    const [figures] = rounds
    expect(figures?.told, target).toBeGreaterThan(0)
    expect(figures?.committed, target).toBe(figures?.told)
    expect(figures?.answers, target).toEqual({ 201: figures?.told })
    expect(figures?.rulesHeld, target).toBeGreaterThan(20)
  }
  const service = report.medians.find(({ target }) => target === SERVICE)
  expect(service?.acceptedPerS).toBe(service?.requestsPerS)
  expect(service?.refusedPerS).toBe(0)
  expect(service?.ofBare).toBeGreaterThan(0)
  expect(service?.ofLock).toBeGreaterThan(0)
  expect(stdout).toMatch(/^coupon-issue +service/m)

  expect(await readdir(folder)).toEqual([])
})

test('a broken rule fails the run, and so does an answer to the warm-up that is not expected', {
  timeout,
}, async () => {
  const [folder, reports] = await Promise.all([emptyFolder(), emptyFolder()])
  const out = join(reports, 'report.json')
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'broken-bench.ts'), ...short, '--out', out],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, TMPDIR: folder } },
  )
  const [[code], stderr] = await Promise.all([once(child, 'close'), text(child.stderr)])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('balance-is-history') })
  const { faults, scenarios } = JSON.parse(await readFile(out, 'utf8')) as Report
  expect(faults).toEqual([
    expect.stringContaining('the audit found rule balance-is-history broken'),
    expect.stringContaining('warm-up: 1 unexpected answers 201'),
  ])
  // Sold out is a refusal, and is counted as nothing else.
  const figures = scenarios[0]?.targets.at(-1)?.rounds[0]
  expect(Object.keys(figures?.answers ?? {})).toEqual(['409 COUPON_SOLD_OUT'])
  expect(figures).toMatchObject({ acceptedPerS: 0, told: 0, committed: 0 })
  expect(await readdir(folder)).toEqual([])
})
