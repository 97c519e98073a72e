import { readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

/** Where the stores of a start are, passwords included. */
export type Stores = { DATABASE_URL: string; REDIS_URL: string }

const ROOT = join(import.meta.dirname, '../..')

/** Notes in `stores.json` of the data directory, for this user only, where the stores of this start are. */
export async function keepStores(dataDir: string, { DATABASE_URL, REDIS_URL }: Stores): Promise<void> {
  const file = join(dataDir, 'stores.json')
  const text = `${JSON.stringify({ DATABASE_URL, REDIS_URL }, null, 2)}\n`
  await writeFile(`${file}.new`, text, { mode: 0o600 })
  await rename(`${file}.new`, file)
}

/**
 * The stores that a tool works on: those that the environment names, and for what it leaves out those of the last
 * `npm start` in `DATA_DIR` (default `.data`). What neither tells is missing.
 */
export async function findStores(env: NodeJS.ProcessEnv): Promise<Partial<Stores>> {
  const file = join(resolve(env.DATA_DIR || join(ROOT, '.data')), 'stores.json')
  // Without a start before, or with a file that was cut short, the environment is all there is.
  const kept = await readFile(file, 'utf8').then(
    (text) => parse(text),
    () => ({}) as Partial<Stores>,
  )
  const DATABASE_URL = env.DATABASE_URL || kept.DATABASE_URL
  const REDIS_URL = env.REDIS_URL || kept.REDIS_URL
  return { ...(DATABASE_URL ? { DATABASE_URL } : {}), ...(REDIS_URL ? { REDIS_URL } : {}) }
}

function parse(text: string): Partial<Stores> {
  try {
    return JSON.parse(text) as Partial<Stores>
  } catch {
    return {}
  }
}
