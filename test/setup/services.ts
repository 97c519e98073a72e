import { Redis } from 'ioredis'
import postgres from 'postgres'
import type { TestProject } from 'vitest/node'
import { plainMessage } from '../../scripts/embedded/setup-error.ts'
import { findImages, startPostgresContainer, startRedisContainer } from './containers.ts'
import type { DockerImages } from './docker-images.ts'
import { type PrivateStore, startPrivatePostgres, startPrivateRedis } from './private-stores.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** a Postgres server, as a user that may create databases; each test makes its own */
    databaseUrl: string
    /** a Redis for all tests, which run one file at a time */
    redisUrl: string
  }
}

const ANSWER_TIMEOUT_MS = 5000

type Store = { url: string; about: string; stop(): Promise<void> }

/**
 * Vitest's global setup: decides which Postgres and which Redis the tests use, says which and why in one line each,
 * and provides their URLs. In this order: `TEST_DATABASE_URL` and `TEST_REDIS_URL`, each on its own; containers,
 * where there is a Docker engine that has or can pull the image; servers that are started here in a fresh folder.
 * @returns the teardown, which stops and deletes what was started
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { TEST_DATABASE_URL: database, TEST_REDIS_URL: redis } = process.env
  const wanted = [...(database ? [] : ['postgres' as const]), ...(redis ? [] : ['redis' as const])]
  const found = wanted.length > 0 ? await findImages(wanted) : { unavailable: 'not looked for' }
  const chosen = await Promise.allSettled([choosePostgres(database, found), chooseRedis(redis, found)])
  const teardown = async () => {
    await Promise.all(chosen.map((store) => (store.status === 'fulfilled' ? store.value.stop() : undefined)))
  }
  const [postgresChoice, redisChoice] = chosen
  if (postgresChoice.status === 'rejected' || redisChoice.status === 'rejected') {
    await teardown()
    const reasons = chosen.flatMap((store) =>
      store.status === 'rejected' ? [plainMessage(store.reason)] : [],
    )
    const error = new Error(`The tests have no store to run on. ${reasons.join(' ')}`)
    error.stack = error.message // for whoever reads this, where it was noticed says nothing
    throw error
  }
  console.log(`tests use Postgres: ${postgresChoice.value.about}`)
  console.log(`tests use Redis: ${redisChoice.value.about}`)
  project.provide('databaseUrl', postgresChoice.value.url)
  project.provide('redisUrl', redisChoice.value.url)
  return teardown
}

async function choosePostgres(given: string | undefined, found: DockerImages): Promise<Store> {
  if (given) {
    await answersAsPostgres(given)
    return { url: given, about: 'TEST_DATABASE_URL is set', stop: async () => undefined }
  }
  const contained = await startPostgresContainer(found)
  if (!('unavailable' in contained)) return contained
  return embedded(await startPrivatePostgres(), 'TEST_DATABASE_URL', contained.unavailable)
}

async function chooseRedis(given: string | undefined, found: DockerImages): Promise<Store> {
  if (given) {
    await answersAsRedis(given)
    return { url: given, about: 'TEST_REDIS_URL is set', stop: async () => undefined }
  }
  const contained = await startRedisContainer(found)
  if (!('unavailable' in contained)) return contained
  return embedded(await startPrivateRedis({ appendonly: false }), 'TEST_REDIS_URL', contained.unavailable)
}

function embedded({ url, version, dir, remove }: PrivateStore, variable: string, reason: string): Store {
  return { url, about: `${version} in ${dir}, as ${variable} is not set and ${reason}`, stop: remove }
}

async function answersAsPostgres(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: ANSWER_TIMEOUT_MS / 1000, onnotice: () => undefined })
  try {
    await sql`select 1`
  } catch (error) {
    throw new Error(`The Postgres of TEST_DATABASE_URL does not answer: ${plainMessage(error)}.`)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function answersAsRedis(url: string): Promise<void> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: ANSWER_TIMEOUT_MS,
    commandTimeout: ANSWER_TIMEOUT_MS,
    retryStrategy: () => null,
  })
  let fault = ''
  redis.on('error', (error: Error) => {
    fault = plainMessage(error)
  })
  try {
    await redis.connect()
    await redis.ping()
  } catch (error) {
    throw new Error(`The Redis of TEST_REDIS_URL does not answer: ${fault || plainMessage(error)}.`)
  } finally {
    redis.disconnect()
  }
}
