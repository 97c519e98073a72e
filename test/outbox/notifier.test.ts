import { describe, expect, it } from 'vitest'
import { createNotifier } from '../../src/outbox/notifier.ts'
import { createSignal } from '../../src/outbox/signal.ts'
import { until } from '../setup/harness.ts'

describe('notifications', () => {
  it('[ORD-7] are joined: one at once, and one for all that came while it was on its way', async () => {
    let sent = 0
    const answers = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const notifier = createNotifier({
      send: () => answers[sent++]?.promise ?? Promise.resolve(),
      gapMs: 1,
      onError: () => undefined,
    })
    notifier.notify()
    expect(sent).toBe(1)
    for (let time = 0; time < 1000; time++) notifier.notify()
    expect(sent).toBe(1)
    answers[0]?.resolve()
    await until('the second', async () => sent === 2)
    answers[1]?.resolve()
    await notifier.stop()
    expect(sent).toBe(2)
  })

  it('[ORD-7] keep a distance', async () => {
    const sentAt: number[] = []
    const notifier = createNotifier({
      send: async () => sentAt.push(performance.now()),
      gapMs: 30,
      onError: () => undefined,
    })
    await until('some to be sent', async () => {
      notifier.notify()
      return sentAt.length >= 4
    })
    await notifier.stop()
    const gaps = sentAt.slice(1, 4).map((at, index) => at - (sentAt[index] as number))
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(28)
  })

  it('[ORD-7] that fail are reported, throw nothing, and do not stop the next', async () => {
    const errors: unknown[] = []
    let sent = 0
    const notifier = createNotifier({
      send: () => (sent++ === 0 ? Promise.reject(new Error('away')) : Promise.resolve()),
      gapMs: 1,
      onError: (error) => errors.push(error),
    })
    notifier.notify()
    notifier.notify()
    await until('the second', async () => sent === 2)
    expect(errors).toEqual([new Error('away')])
    await notifier.stop()
  })

  it('[ORD-7] wanted before the stop go out before it ends', async () => {
    let sent = 0
    const notifier = createNotifier({
      send: async () => ++sent,
      gapMs: 10_000,
      onError: () => undefined,
    })
    await notifier.stop()
    notifier.notify()
    notifier.notify()
    await notifier.stop()
    expect(sent).toBe(2)
  })
})

describe('a signal', () => {
  it('[ORD-7] that was raised before anybody waited is not lost, and is one however often it was raised', async () => {
    const signal = createSignal()
    signal.raise()
    signal.raise()
    await signal.wait(1_000_000)
    signal.reset()
    const timedOut = signal.wait(10).then(() => 'timed out')
    expect(await timedOut).toBe('timed out')
    const woken = signal.wait(1_000_000)
    signal.raise()
    await woken
  })
})
