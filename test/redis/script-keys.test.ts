import { createHash, randomInt, randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest'
import { openRedis, type RedisClient, untilReady } from '../../src/redis/client.ts'
import { keys } from '../../src/redis/keys.ts'
import { readScripts } from '../../src/redis/script-source.ts'
import { bindScripts, type Scripts } from '../../src/redis/scripts.ts'

const sources = readScripts()
let redis: RedisClient

beforeAll(async () => {
  redis = openRedis({
    url: inject('redisUrl'),
    timeoutMs: 10_000,
    connectionName: 'script keys test',
    scripts: sources,
    log: pino({ level: 'silent' }),
  })
  await untilReady(redis, 10_000)
})
afterAll(() => redis.disconnect())

/** What stands between the first pair of braces: what Redis Cluster picks the slot by. */
const tagOf = (key: string) => /\{([^}]+)\}/.exec(key)?.[1]

it('spells every key with the hash tag of what it belongs to', () => {
  for (const [name, build] of Object.entries<(...parts: never[]) => string>(keys)) {
    const key = build(...(['7', '8'] as never[]))
    expect([name, tagOf(key), key.match(/[{}]/g)?.length]).toEqual([name, '7', 2])
  }
})

it('keeps the keys of different things apart', () => {
  const all = Object.values<(...parts: never[]) => string>(keys).flatMap((build) => [
    build(...(['1', '1'] as never[])),
    build(...(['11', '1'] as never[])),
  ])
  expect(new Set(all).size).toBe(all.length)
})

interface Seen {
  source: string
  command: string[]
}

/**
 * Everything that Redis does while `work` runs, told by MONITOR. Over a socket of its own: what others do at that moment
 * may come together with the answer to MONITOR, which ioredis takes for answers to commands that it never sent.
 */
async function monitor(work: () => Promise<void>): Promise<Seen[]> {
  const { protocol, hostname, port, username, password } = new URL(inject('redisUrl'))
  const at = { host: hostname, port: Number(port || 6379) }
  const socket = protocol === 'rediss:' ? connectTls(at) : connect(at)
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  /** Echoes a word until it is told: what came before it has been told by then. */
  async function catchUp(): Promise<void> {
    const word = randomUUID()
    await vi.waitFor(
      async () => {
        await redis.echo(word)
        expect(text).toContain(word)
      },
      { interval: 5, timeout: 10_000 },
    )
  }

  try {
    if (password) {
      const credentials = [username || 'default', password].map((part) => `"${decodeURIComponent(part)}"`)
      socket.write(`AUTH ${credentials.join(' ')}\r\n`)
    }
    socket.write('MONITOR\r\n')
    await catchUp()
    await work()
    await catchUp()
  } finally {
    socket.destroy()
  }
  return text.split('\r\n').flatMap((line) => {
    const [, source, command] = /^\+[\d.]+ \[\d+ (\S+)\] (.*)$/.exec(line) ?? []
    if (source === undefined || command === undefined) return []
    const parts = [...command.matchAll(/"((?:\\.|[^"\\])*)"/g)].map((match) => match[1] as string)
    return [{ source, command: parts }]
  })
}

/** Calls every function over a coupon script, in an order in which each finds something to do. */
async function useCouponScripts(scripts: Scripts, policyId: number): Promise<void> {
  const soon = Date.now() + 60_000
  const couponId = randomUUID()
  await redis.hset(keys.couponPolicy(policyId), 'loader', 'me')
  await scripts.loadPolicy(
    policyId,
    { loader: 'me', settles: 0 },
    { total: 5, remaining: 5, startsAt: 0, endsAt: soon, holdersExpireAt: soon, holdersUpTo: 0 },
  )
  const admission = await scripts.issueCoupon(policyId, 1, couponId)
  expect(admission.outcome).toBe('ADMITTED')
  await scripts.inspectPolicy(policyId)
  await scripts.settleCoupons(policyId, soon, [
    { couponId, userId: 1, heldId: couponId },
    { couponId: randomUUID(), userId: 2, heldId: null },
  ])
  await scripts.holdCoupons(policyId, soon, [{ userId: 1, couponId }])
}

it('runs each coupon script on keys of one hash tag, and touches no key that was not declared', async () => {
  const policyId = randomInt(1, 2 ** 40)
  const seen = await monitor(() => useCouponScripts(bindScripts(redis, sources), policyId))
  const nameOf = new Map(sources.map(({ name, lua }) => [createHash('sha1').update(lua).digest('hex'), name]))
  const names = new Set<string>()
  let declared: string[] = []
  for (const { source, command } of seen) {
    const [verb = '', script = '', count = '0', ...rest] = command
    if (source === 'lua') {
      const touched = verb.toUpperCase() === 'TIME' ? [] : await redis.call('COMMAND', 'GETKEYS', ...command)
      for (const key of touched as string[]) expect(declared).toContain(key)
    } else if (/^eval(sha)?$/i.test(verb)) {
      const name = nameOf.get(script) ?? /^-- ([\w.]+): /.exec(script)?.[1]
      declared = rest.slice(0, Number(count))
      if (name === undefined || tagOf(declared[0] ?? '') !== String(policyId)) continue
      names.add(name)
      expect(declared.map(tagOf)).toEqual(declared.map(() => String(policyId)))
    }
  }
  expect([...names].sort()).toEqual(sources.map(({ name }) => name).filter((name) => /^coupon\./.test(name)))
  await redis.del(
    keys.couponPolicy(policyId),
    keys.couponHolder(policyId, 1),
    keys.couponHolder(policyId, 2),
    keys.couponPending(policyId),
  )
})

it('binds the scripts of lua/, and none whose outcomes are not those of the table', () => {
  expect(() => bindScripts(redis, sources)).not.toThrow()
  for (const source of sources) {
    const others = sources.filter((other) => other !== source)
    const says = `lua/${source.name}.lua and the table of scripts disagree about the outcomes`
    for (const outcomes of [
      [...source.outcomes, 'ANOTHER'],
      source.outcomes.slice(1),
      ['ANOTHER', ...source.outcomes.slice(1)],
    ]) {
      expect(() => bindScripts(redis, [...others, { ...source, outcomes }])).toThrow(new Error(says))
    }
  }
})

it('refuses a script that the table does not know', () => {
  const [source] = sources
  if (!source) throw new Error('no scripts')
  expect(() => bindScripts(redis, [{ ...source, name: 'coupon.burn' }])).toThrow(
    new Error('lua/coupon.burn.lua and the table of scripts disagree about the outcomes'),
  )
})
