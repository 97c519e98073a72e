import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { run } from '../../scripts/embedded/os-process.ts'
import type { FakeDataPlatform } from '../../scripts/fake-data-platform.ts'
import { runTool } from '../../scripts/outbox.ts'
import type { Harness } from '../setup/harness.ts'
import { until } from '../setup/harness.ts'
import { buyers, chargeUsers, expectAllArrived, startWithPlatform, untilDelivered } from '../setup/outbox.ts'

const program = join(import.meta.dirname, '../../scripts/outbox.ts')
const unknownId = '01900000-0000-7000-8000-000000000000'

let platform: FakeDataPlatform
let harness: Harness
let stop: () => Promise<void>
/** orders whose order.paid is parked */
let orderIds: string[]
beforeEach(async () => {
  ;({ platform, harness, stop } = await startWithPlatform({
    OUTBOX_MAX_ATTEMPTS: '3',
    OUTBOX_POLL_MS: '60000',
  }))
  const productId = await harness.product({ stock: 100 })
  await chargeUsers(harness, buyers(3))
  platform.behave({ mode: 'error', status: 422 })
  harness.outbox.startRelay()
  orderIds = []
  for (const userId of buyers(3)) orderIds.push((await harness.order(userId, productId)).body.id)
  await until('all to be parked', async () => harness.outbox.stats()?.parked === 3)
  platform.behave({ mode: 'ok' })
})
afterEach(() => stop())

/** Runs the tool in this process. */
async function toolOn(url: string | undefined, ...args: string[]) {
  const lines: string[] = []
  const add = (text: string) => lines.push(text)
  return { code: await runTool(args, url, { print: add, complain: add }), output: lines.join('\n') }
}
/** Runs it on the database of the harness. */
const tool = (...args: string[]) => toolOn(harness.on.database, ...args)
/** Runs it as a process of its own. */
const spawnTool = (...args: string[]) =>
  run(process.execPath, [program, ...args], {
    timeoutMs: 30_000,
    env: { ...process.env, DATABASE_URL: harness.on.database },
  })
const json = async (...args: string[]) => JSON.parse((await tool(...args, '--json')).output)

describe('npm run outbox', () => {
  it('[ORD-7] shows what is parked, and has it sent again: one event, one order, all', async () => {
    const listed = await json('list')
    expect(listed.items).toHaveLength(3)
    expect(listed.items[0]).toMatchObject({
      type: 'order.paid',
      orderId: orderIds[0],
      attempts: 3,
      lastError: 'answered 422',
    })
    const text = (await spawnTool('list')).output
    expect(text.trim().split('\n')).toHaveLength(3)
    expect(text).toContain(`${listed.items[0].eventId}  order.paid`)
    expect(text).toContain('after 3 tries: answered 422')
    expect((await json('list', '--limit', '2')).items).toHaveLength(2)
    expect(await json('status')).toEqual({ pending: 0, parked: 3, oldestAt: null, lagMs: 0 })

    // The relay polls once a minute here: it is the tool that wakes it.
    expect(await json('replay', '--event', listed.items[0].eventId)).toEqual({ replayed: 1 })
    await until('the event', async () => platform.stats().distinct === 1)
    expect(await spawnTool('replay', '--order', orderIds[1] as string)).toEqual({
      code: 0,
      output: 'replayed 1\n',
    })
    await until('the order', async () => platform.stats().distinct === 2)
    expect(platform.events().map(({ order }) => order.id)).toEqual(orderIds.slice(0, 2))
    expect(await json('replay', '--all')).toEqual({ replayed: 1 })
    await untilDelivered(harness)
    expect(await tool('list')).toEqual({ code: 0, output: 'nothing is parked' })
    expect(await tool('replay', '--all')).toEqual({ code: 0, output: 'replayed 0' })
    await expectAllArrived(harness, platform)
  })

  it('[ORD-7] a replayed event that is refused again is parked again, with all its attempts', async () => {
    platform.behave({ mode: 'error', status: 422 })
    expect(await json('replay', '--order', orderIds[0] as string)).toEqual({ replayed: 1 })
    await until('it to be parked again', async () => harness.outbox.stats()?.parked === 4)
    expect((await json('list')).items[0]).toMatchObject({ orderId: orderIds[0], attempts: 3 })
  })

  it('[ORD-7] shows what waits, and since when', async () => {
    await harness.outbox.stop()
    expect((await harness.cancel(orderIds[0] as string)).status).toBe(200)
    const status = await json('status')
    expect(status).toMatchObject({ pending: 1, parked: 3 })
    const [row] = await harness.sql`select occurred_at from outbox_events where type = 'order.canceled'`
    expect(status.oldestAt).toBe(row?.occurred_at.toISOString())
    expect(status.lagMs).toBeGreaterThan(0)
    const { output } = await tool('status')
    expect(output).toMatch(
      /^pending {2}1, the oldest since \S+Z \(\d+ s\)\nparked {3}3: see list, then replay$/,
    )
  })

  it('[ORD-7] says what is wrong with its usage, and ends with 2', async () => {
    for (const [args, message] of [
      [[], 'A command is missing.'],
      [['sned'], 'There is no command sned.'],
      [['list', 'status'], 'There is one command at a time'],
      [['replay'], 'replay needs one of --order ID, --event ID and --all.'],
      [['replay', '--all', '--event', unknownId], 'replay needs one of'],
      [['replay', '--order', "1' or true"], "1' or true is not the id of an order or event."],
      [['replay', '--all', '--limit', '3'], '--limit does not go with replay.'],
      [['list', '--limit', '0'], '--limit must be a whole number from 1 to 10000.'],
      [['status', '--all'], '--all does not go with status.'],
      [['list', '--lmit', '3'], "Unknown option '--lmit'"],
    ] as const) {
      const { code, output } = await tool(...args)
      expect([args, code]).toEqual([args, 2])
      expect(output).toContain(message)
      expect(output).toContain('Usage: npm run outbox')
    }
    const help = await spawnTool('--help')
    expect(help.code).toBe(0)
    expect(help.output).toMatch(/^Usage: npm run outbox/)
    expect((await spawnTool('list', '--limit', '1.5')).code).toBe(2)
  })

  it('[ORD-7] ends with 1 when there is nothing of that kind, with 2 when there is no database, and shows no stack', async () => {
    for (const option of ['--order', '--event']) {
      const { code, output } = await tool('replay', option, unknownId)
      expect([code, output.trim().split('\n').length]).toEqual([1, 1])
      expect(output).toContain(`${unknownId} is parked.`)
    }
    const away = await toolOn('postgres://nobody:s3cret@127.0.0.1:1/nothing', 'status')
    expect(away.code).toBe(2)
    expect(away.output).toMatch(/^outbox: .*ECONNREFUSED.*$/)
    expect(away.output).not.toContain('s3cret')
    const unset = await toolOn(undefined, 'status')
    expect([unset.code, unset.output.split('\n')[0]]).toEqual([
      2,
      'DATABASE_URL is not set, and npm start has left no database to use.',
    ])
  })
})
