import { ReplyError } from 'ioredis'
import { describe, expect, it } from 'vitest'
import { isRedisUnavailable } from '../../src/redis/failure.ts'

describe('what Redis cannot do now is 503', () => {
  it.each([
    'LOADING Redis is loading the dataset in memory',
    "READONLY You can't write against a read only replica.",
    'CLUSTERDOWN Hash slot not served',
    'CLUSTERDOWN The cluster is down',
    'MOVED 866 127.0.0.1:7001',
    'ASK 866 127.0.0.1:7001',
    'TRYAGAIN Multiple keys request during rehashing of slot',
    'MASTERDOWN Link with MASTER is down',
    'NOREPLICAS Not enough good replicas to write.',
    'OOM command not allowed when used memory > maxmemory.',
  ])('the reply %s', (message) => {
    expect(isRedisUnavailable(new ReplyError(message))).toBe(true)
  })

  it.each([
    'Connection is closed.',
    'Command timed out',
    "Cluster isn't ready and enableOfflineQueue options is false",
    'Cluster is ended.',
    'None of startup nodes is available',
    'Too many Cluster redirections. Last error: ReplyError: MOVED 866 127.0.0.1:7001',
    'All keys in the pipeline should belong to the same slots allocation group',
  ])('the fault %s', (message) => {
    expect(isRedisUnavailable(new Error(message))).toBe(true)
  })

  it('a cluster of which no node answers', () => {
    const error = Object.assign(new Error('Failed to refresh slots cache.'), {
      name: 'ClusterAllFailedError',
    })
    expect(isRedisUnavailable(error)).toBe(true)
  })
})

describe('what we do wrong is 500', () => {
  it.each([
    "CROSSSLOT Keys in request don't hash to the same slot",
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    'ERR Error running script',
  ])('the reply %s', (message) => {
    expect(isRedisUnavailable(new ReplyError(message))).toBe(false)
  })

  it('any other error, and what is none', () => {
    expect(isRedisUnavailable(new TypeError('x is undefined'))).toBe(false)
    expect(isRedisUnavailable('Connection is closed.')).toBe(false)
  })
})
