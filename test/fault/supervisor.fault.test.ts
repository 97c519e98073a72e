import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type Harness, startHarness, until } from '../setup/harness.ts'
import { holding, untilLockIsAwaited } from '../setup/row-locks.ts'
import { type ServerProcess, startServer } from '../setup/server.ts'

/** Processes of Node that start and end, on a machine that may be slow. */
const doneWithinMs = 100_000
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 })

let harness: Harness
let server: ServerProcess
let halted: number | undefined
beforeEach(async () => {
  harness = await startHarness()
  server = await startServer(harness.on, { WORKERS: '2', SHUTDOWN_TIMEOUT_MS: '60000' })
})
afterEach(async () => {
  if (halted !== undefined) process.kill(halted, 'SIGCONT')
  await server.kill('SIGKILL')
  await harness.stop()
})

/** What the supervisor and its members have logged under a message. */
const logged = (msg: string) =>
  server.lines
    .filter((line) => line.startsWith('{'))
    .flatMap((line) => {
      const entry = JSON.parse(line)
      return entry.msg === msg ? [entry] : []
    })
const untilLogged = (msg: string, isMeant: (entry: Record<string, unknown>) => boolean = () => true) =>
  until(msg, async () => logged(msg).some(isMeant), doneWithinMs)

it('[ALL-1] a stop during a rolling restart ends those who are there, and starts nobody', async () => {
  const [{ members }] = logged('serving') as [{ members: Record<string, number> }]
  const policyId = await harness.policy()
  const letGo = await holding(
    harness,
    (connection) => connection`select 1 from coupon_policies where id = ${policyId} for update`,
  )
  // The second member can neither serve nor end, so the first has a call under way and the end of all takes long.
  halted = members['api-2'] as number
  process.kill(halted, 'SIGSTOP')
  const calls = Promise.allSettled([1, 2, 3, 4].map((userId) => server.issue(policyId, userId)))
  await untilLockIsAwaited(harness, 'commit')
  server.signal('SIGUSR2')
  await untilLogged('stopping', ({ signal, worker }) => signal === 'replaced' && worker === 'api-1')
  const ended = server.kill('SIGTERM')
  await untilLogged('stopping all members')

  await letGo()
  await untilLogged('rolling restart ended')
  process.kill(halted, 'SIGCONT')
  halted = undefined
  expect(await ended).toEqual({ code: 0, signal: null })
  await calls
  expect(
    logged('member serving')
      .map(({ worker }) => worker)
      .sort(),
  ).toEqual([...['api-1', 'api-1', 'api-2', 'background']])
})
