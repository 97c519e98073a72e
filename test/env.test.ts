import { describe, expect, it } from 'vitest'
import { describeEnv, EnvError, readEnv } from '../src/env.ts'
import { readRedisUrl } from '../src/redis/address.ts'

const stores = { DATABASE_URL: 'postgres://app@db:5432/shop', REDIS_URL: 'redis://cache:6379' }

function faultsOf(source: Record<string, string | undefined>): string[] {
  try {
    readEnv(source)
  } catch (error) {
    if (error instanceof EnvError) return error.faults
    throw error
  }
  return []
}

describe('defaults', () => {
  it('are enough with the URLs of both stores', () => {
    expect(readEnv(stores)).toMatchObject({
      ...stores,
      NODE_ENV: 'production',
      HOST: '0.0.0.0',
      PORT: 3000,
      ROLES: ['api', 'worker', 'scheduler'],
      LOG_LEVEL: 'info',
      DATABASE_POOL: 10,
      DATABASE_TIMEOUT_MS: 5000,
      REDIS_TIMEOUT_MS: 2000,
      COMMIT_MAX_BATCH: 500,
      COMMIT_MAX_IN_FLIGHT: 2,
      COMMIT_MAX_QUEUE: 20_000,
      RECOVERY_INTERVAL_MS: 1000,
      RECOVERY_MIN_AGE_MS: 3000,
      SHUTDOWN_TIMEOUT_MS: 10_000,
    })
    expect(readEnv(stores)).not.toHaveProperty('ADMIN_TOKEN')
  })

  it('stand in for empty variables', () => {
    const empty = Object.fromEntries(describeEnv().map(({ name }) => [name, '']))
    expect(readEnv({ ...empty, ...stores })).toEqual(readEnv(stores))
    expect(faultsOf({ ...empty, REDIS_URL: stores.REDIS_URL })).toEqual(['DATABASE_URL is not set'])
  })

  it('are what the documentation says', () => {
    const env: Record<string, unknown> = { ...readEnv(stores) }
    const documented = describeEnv()
    expect(documented.length).toBeGreaterThanOrEqual(17)
    for (const { name, fallback } of documented) {
      expect([name, fallback]).toEqual([name, name in stores ? '' : String(env[name] ?? '')])
    }
    expect(documented).toContainEqual({
      name: 'PORT',
      fallback: '3000',
      meaning: 'port to listen on; 0 picks a free one',
      required: false,
    })
  })

  it('have bounds that a fault tells, whatever is wrong with the number', () => {
    for (const wrong of ['0', '65', 'two', '1.5']) {
      expect(faultsOf({ ...stores, WORKERS: wrong })).toEqual([
        'WORKERS: must be a whole number from 1 to 64',
      ])
    }
  })

  it('leave variables of others alone', () => {
    expect(readEnv({ ...stores, PATH: '/bin', npm_config_yes: 'true' })).toEqual(readEnv(stores))
  })
})

describe('given values', () => {
  it('are taken over, numbers as numbers', () => {
    const given = {
      DATABASE_URL: 'postgresql://app:secret@db/shop?sslmode=require',
      REDIS_URL: 'rediss://:secret@cache:6380/3',
      PORT: '0',
      LOG_LEVEL: 'silent',
      ADMIN_TOKEN: 'sixteen-letters!',
      COMMIT_MAX_BATCH: '1',
    }
    expect(readEnv(given)).toMatchObject({ ...given, PORT: 0, COMMIT_MAX_BATCH: 1 })
  })

  it.each([
    ['api', ['api']],
    ['worker,scheduler', ['worker', 'scheduler']],
    [' api , worker ', ['api', 'worker']],
  ])('ROLES=%s names %j', (text, roles) => {
    expect(readEnv({ ...stores, ROLES: text }).ROLES).toEqual(roles)
  })

  it.each(['apis', 'api,', ',', 'api worker', 'API'])('ROLES=%s is refused', (text) => {
    const faults = faultsOf({ ...stores, ROLES: text })
    expect(faults.length).toBeGreaterThanOrEqual(1)
    for (const fault of faults) expect(fault).toMatch(/^ROLES: .*"api"\|"worker"\|"scheduler"/)
  })

  it.each([
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '80.5'],
    ['PORT', 'http'],
    ['PORT', ' '],
    ['PORT', ' 3000'],
    ['PORT', '0x10'],
    ['DATABASE_POOL', '1e1'],
    ['DATABASE_POOL', '0'],
    ['DATABASE_TIMEOUT_MS', '99'],
    ['REDIS_TIMEOUT_MS', '1e9'],
    ['COMMIT_MAX_BATCH', '0'],
    ['COMMIT_MAX_IN_FLIGHT', '33'],
    ['COMMIT_MAX_QUEUE', 'many'],
    ['ADMIN_TOKEN', 'too-short'],
    ['ADMIN_TOKEN', 'sixteen letters!'],
    ['ADMIN_TOKEN', 'sixteen-letters!\n'],
    ['ADMIN_TOKEN', 'séventeen-letters'],
    ['LOG_LEVEL', 'loud'],
    ['DATABASE_URL', 'mysql://db/shop'],
    ['DATABASE_URL', 'db:5432'],
    ['DATABASE_URL', 'postgres://app:p%ss@db/shop'],
    ['DATABASE_URL', 'postgres://a%:pass@db/shop'],
    ['DATA_PLATFORM_URL', 'https://app:50%@platform/events'],
    ['REDIS_URL', 'redis://:p%ss@cache'],
    ['REDIS_URL', 'http://cache'],
    ['AUTH_JWT_SECRET', 'shorter than its hash'],
    ['AUTH_JWKS_URL', 'file:///keys'],
    ['CORS_ORIGINS', '*'],
    ['CORS_ORIGINS', 'https://shop.example/'],
    ['RATE_LIMIT_REQUESTS', '-1'],
    ['REQUEST_TIMEOUT_MS', '99'],
    ['WORKERS', '0'],
    ['SHUTDOWN_DELAY_MS', '10000'],
  ])('[ALL-3] %s=%j is refused, by the name of the variable', (name, value) => {
    const faults = faultsOf({ ...stores, [name]: value })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(new RegExp(`^${name}: \\S`))
  })
})

describe('REDIS_URL', () => {
  const redis = (text: string) => readEnv({ ...stores, REDIS_URL: text }).REDIS_URL
  const faults = (text: string) => faultsOf({ ...stores, REDIS_URL: text })

  it('names one server, whose password may hold a comma', () => {
    expect(redis('redis://:pa,ss@cache:6380/3')).toBe('redis://:pa,ss@cache:6380/3')
    expect(readRedisUrl('redis://:pa,ss@cache:6380/3')).toMatchObject({
      isCluster: false,
      nodes: [{ host: 'cache', port: 6380 }],
    })
  })

  it('names nodes of a cluster, which share a login', () => {
    const text = 'rediss://app:s%3Acret@a:7001, rediss://b,rediss://[::1]:7003'
    expect(redis(text)).toBe(text)
    expect(readRedisUrl(text)).toEqual({
      isCluster: true,
      nodes: [
        { host: 'a', port: 7001 },
        { host: 'b', port: 6379 },
        { host: '::1', port: 7003 },
      ],
      username: 'app',
      password: 's:cret',
      isTls: true,
    })
  })

  it.each([
    ['redis://a,b:7002', ['must name a host in each URL, and have a URL for each node of a cluster']],
    ['redis://a,', ['must name a host in each URL, and have a URL for each node of a cluster']],
    ['redis://a,http://b', ['must be URLs that start with redis:// or rediss://, with commas between']],
    ['redis://a/0,redis://b/1', ['must not name a database: a cluster has only the first']],
    ['redis://a,redis://b?db=1', ['must not have a query']],
    ['redis://:50%@a,redis://b', ['must have user and password percent-encoded, a % as %25']],
    [
      'redis://:hunter2@a,rediss://:hunter3@b',
      [
        'must have redis:// for all nodes or rediss:// for all',
        'must have the same user and password for all nodes',
      ],
    ],
  ])('%s is refused, with every fault', (text, expected) => {
    expect(faults(text)).toEqual(expected.map((fault) => `REDIS_URL: ${fault}`))
  })
})

it('WORKERS needs the api: the other roles have one process', () => {
  const several = { ...stores, WORKERS: '2' }
  expect(readEnv(several).WORKERS).toBe(2)
  expect(faultsOf({ ...several, ROLES: 'worker,scheduler' })).toEqual([
    'WORKERS: must be 1 where ROLES has no api: the other roles need one process',
  ])
})

it('tells every fault at once, each with its variable and none with a value', () => {
  const values = {
    REDIS_URL: 'ftp://user:hunter2@cache',
    PORT: 'hunter2',
    ROLES: 'hunter2,api',
    LOG_LEVEL: 'hunter2',
    ADMIN_TOKEN: 'hunter2',
    COMMIT_MAX_QUEUE: '20170401.5',
  }
  const faults = faultsOf(values)
  expect(faults.map((fault) => fault.split(/[: ]/)[0])).toEqual([
    'PORT',
    'ROLES',
    'LOG_LEVEL',
    'DATABASE_URL',
    'REDIS_URL',
    'ADMIN_TOKEN',
    'COMMIT_MAX_QUEUE',
  ])
  expect(faults).toContain('DATABASE_URL is not set')
  expect(faults).toContain('REDIS_URL: must be a URL that starts with redis:// or rediss://')

  const thrown = new EnvError(faults)
  expect(thrown.message).toBe(
    `The environment is not valid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
  )
  expect(thrown.message).not.toContain('hunter2')
  expect(thrown.message).not.toContain('20170401')
})
