import { beforeEach, describe, expect, it } from 'vitest'
import { type Breaker, createBreaker, type Pass } from '../../src/outbox/breaker.ts'

let breaker: Breaker
let elapsedMs: number
let told: (number | 'closed')[]
beforeEach(() => {
  elapsedMs = 0
  told = []
  breaker = createBreaker({
    threshold: 3,
    openMs: (times) => times * 100,
    now: () => elapsedMs,
    onOpen: (ms) => told.push(ms),
    onClose: () => told.push('closed'),
  })
})

function admitted(): Pass {
  const pass = breaker.admit()
  if (!pass) throw new Error('nothing was admitted')
  return pass
}

function fail(times: number): void {
  for (let time = 0; time < times; time++) admitted().failed()
}

describe('the breaker', () => {
  it('[ORD-7] opens after three failures in a row, and not by failures between successes', () => {
    fail(2)
    admitted().succeeded()
    fail(2)
    expect(breaker.state).toBe('closed')
    fail(1)
    expect(breaker.state).toBe('open')
    expect(breaker.admit()).toBeUndefined()
    expect(told).toEqual([100])
  })

  it('[ORD-7] lets one probe through when its time is over, and closes when that succeeds', () => {
    fail(3)
    elapsedMs = 99
    expect(breaker.admit()).toBeUndefined()
    elapsedMs = 100
    const probe = admitted()
    expect([probe.isProbe, breaker.state, breaker.admit()]).toEqual([true, 'half-open', undefined])
    probe.succeeded()
    expect([breaker.state, admitted().isProbe]).toEqual(['closed', false])
    expect(told).toEqual([100, 'closed'])
  })

  it('[ORD-7] stays open for longer each time that a probe fails, and starts from the beginning after a success', () => {
    fail(3)
    elapsedMs += 100
    fail(1)
    elapsedMs += 199
    expect(breaker.admit()).toBeUndefined()
    elapsedMs += 1
    fail(1)
    elapsedMs += 300
    admitted().succeeded()
    fail(3)
    expect(told).toEqual([100, 200, 300, 'closed', 100])
  })

  it('[ORD-7] does not take a probe that found nothing to send for an answer', () => {
    fail(3)
    elapsedMs = 100
    admitted().unused()
    expect(breaker.state).toBe('open')
    expect(admitted().isProbe).toBe(true)
    expect(told).toEqual([100])
  })

  it('[ORD-7] does not listen to posts from before it opened', () => {
    const [late, later] = [admitted(), admitted()]
    fail(3)
    late.succeeded()
    later.failed()
    expect(breaker.state).toBe('open')
    elapsedMs = 100
    const probe = admitted()
    late.succeeded()
    expect(breaker.state).toBe('half-open')
    probe.failed()
    expect(told).toEqual([100, 200])
  })
})
