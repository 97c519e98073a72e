// `node test/setup/docker-images.ts IMAGE...`: whether a Docker engine has, or can pull, the images; and Ryuk's.
// A program of its own, as an engine or a registry that hangs holds connections which testcontainers cannot give up,
// and which would keep Vitest from ending: this one is ended with them.
import { setTimeout as delay } from 'node:timers/promises'
import { type ContainerRuntimeClient, getContainerRuntimeClient, ImageName } from 'testcontainers'
import { getReaperImage } from 'testcontainers/build/reaper/reaper.js'
import { plainMessage } from '../../scripts/embedded/setup-error.ts'

/** An engine that does not answer in this time would hold up every start of a container too. */
const ENGINE_TIMEOUT_MS = 5000
const PULL_TIMEOUT_MS = 60_000

/** What is printed, as one line of JSON. */
export type DockerImages =
  | { unavailable: string }
  | { ryuk: boolean; images: Record<string, 'present' | 'pulled' | { unavailable: string }> }

async function look(names: readonly string[]): Promise<DockerImages> {
  let engine: ContainerRuntimeClient
  try {
    engine = await within(ENGINE_TIMEOUT_MS, getContainerRuntimeClient())
  } catch (error) {
    const why = plainMessage(error)
    return {
      unavailable: /container runtime strategy/.test(why)
        ? 'no Docker engine answers'
        : `the Docker engine ${why}`,
    }
  }
  const [ryuk, ...images] = await Promise.all(
    [getReaperImage(), ...names].map((name) => ensure(engine, name)),
  )
  return {
    ryuk: typeof ryuk === 'string',
    images: Object.fromEntries(
      names.map((name, index) => [name, images[index] ?? { unavailable: 'no answer' }]),
    ),
  }
}

/** Looks before it pulls, as a pull asks the registry first. A pull that failed ends like a good one: looks again. */
async function ensure(
  engine: ContainerRuntimeClient,
  name: string,
): Promise<'present' | 'pulled' | { unavailable: string }> {
  const image = ImageName.fromString(name)
  const unavailable = (why: string) => ({ unavailable: `the Docker engine cannot pull ${name}${why}` })
  try {
    if (await within(ENGINE_TIMEOUT_MS, engine.image.exists(image))) return 'present'
    await within(PULL_TIMEOUT_MS, engine.image.pull(image))
    return (await engine.image.exists(image)) ? 'pulled' : unavailable('')
  } catch (error) {
    return unavailable(`: ${plainMessage(error)}`)
  }
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  const late = delay(ms).then(() => Promise.reject(new Error(`does not answer within ${ms / 1000} s`)))
  late.catch(() => undefined) // heard by nobody when the promise was in time
  promise.catch(() => undefined) // heard by nobody when it is late
  return Promise.race([promise, late])
}

if (import.meta.main) {
  process.stdout.write(`${JSON.stringify(await look(process.argv.slice(2)))}\n`, () => process.exit(0))
}
