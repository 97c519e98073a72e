import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { StartedTestContainer } from 'testcontainers'
import { guard } from '../../scripts/embedded/guardian.ts'
import { run } from '../../scripts/embedded/os-process.ts'
import { postgresArguments } from '../../scripts/embedded/postgres.ts'
import { plainMessage } from '../../scripts/embedded/setup-error.ts'
import type { DockerImages } from './docker-images.ts'
import { testPostgresSettings } from './private-stores.ts'

const IMAGES = { postgres: 'postgres:18-alpine', redis: 'redis:8-alpine' } as const
/** over the deadlines that the look itself keeps: for the engine, and then for the pulls */
const LOOK_TIMEOUT_MS = 90_000
const START_TIMEOUT_MS = 120_000
const REDIS_ARGUMENTS = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction']

/** A running container, or why there is none. */
export type Contained = { url: string; about: string; stop(): Promise<void> } | { unavailable: string }

/**
 * Looks for a Docker engine (where testcontainers does: DOCKER_HOST, the usual sockets) and for the images that the
 * tests want, which it pulls when they are missing. Takes at most 5 s where there is no engine.
 * @param stores those that are wanted
 */
export async function findImages(stores: readonly (keyof typeof IMAGES)[]): Promise<DockerImages> {
  const script = join(import.meta.dirname, 'docker-images.ts')
  try {
    const { output } = await run(process.execPath, [script, ...stores.map((store) => IMAGES[store])], {
      timeoutMs: LOOK_TIMEOUT_MS,
    })
    return JSON.parse(output.trim().split('\n').at(-1) ?? '') as DockerImages
  } catch (error) {
    return { unavailable: `the look for a Docker engine failed: ${plainMessage(error).slice(0, 200)}` }
  }
}

/** A container of Postgres for the tests, with their settings. */
export async function startPostgresContainer(found: DockerImages): Promise<Contained> {
  return contain(found, IMAGES.postgres, async (name) => {
    const { PostgreSqlContainer } = await import('@testcontainers/postgresql')
    const { Wait } = await import('testcontainers')
    const container = await new PostgreSqlContainer(IMAGES.postgres)
      .withName(name)
      .withCommand(['postgres', ...postgresArguments(testPostgresSettings)])
      // The module's own health check starts a process in the container four times a second for as long as the tests
      // run, and on a busy machine none of them ends within its second. NONE is Docker's word, unknown to the type.
      .withHealthCheck({ test: ['NONE'] as never })
      // Twice: the image makes the database with a server that it stops again.
      .withWaitStrategy(Wait.forLogMessage(/database system is ready to accept connections/, 2))
      .withStartupTimeout(START_TIMEOUT_MS)
      .start()
    return { container, url: container.getConnectionUri() }
  })
}

/** A container of Redis for the tests, without persistence. */
export async function startRedisContainer(found: DockerImages): Promise<Contained> {
  return contain(found, IMAGES.redis, async (name) => {
    const { RedisContainer } = await import('@testcontainers/redis')
    const container = await new RedisContainer(IMAGES.redis)
      .withName(name)
      .withCommand(['redis-server', ...REDIS_ARGUMENTS])
      .withStartupTimeout(START_TIMEOUT_MS)
      .start()
    return { container, url: container.getConnectionUrl() }
  })
}

async function contain(
  found: DockerImages,
  imageName: string,
  start: (name: string) => Promise<{ container: StartedTestContainer; url: string }>,
): Promise<Contained> {
  if ('unavailable' in found) return found
  const image = found.images[imageName] ?? { unavailable: `${imageName} was not looked for` }
  if (typeof image === 'object') return image
  // Ryuk is the container that removes the others after us. Where its image cannot be had, testcontainers would fail
  // over it, and the guardian does its work with the docker command.
  if (!found.ryuk) process.env.TESTCONTAINERS_RYUK_DISABLED = 'true'
  const guardian = guard()
  // A name that is known before there is a container: a Ctrl-C may come while it starts.
  const name = `seonchak-test-${randomUUID()}`
  guardian.container(name)
  try {
    const { container, url } = await start(name)
    const stop = async () => {
      await container.stop()
      guardian.release()
    }
    return {
      url,
      about: `container ${imageName}, ${image === 'pulled' ? 'just pulled' : 'present'} in the Docker engine`,
      stop,
    }
  } catch (error) {
    // The guardian stays: should this have left a container behind, it goes at our end.
    return { unavailable: `the container ${imageName} does not start: ${plainMessage(error)}` }
  }
}
