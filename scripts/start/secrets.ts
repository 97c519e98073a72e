import { randomBytes } from 'node:crypto'
import { chmod, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SetupError } from '../embedded/setup-error.ts'

export type Secrets = { adminToken: string; postgresPassword: string; redisPassword: string }

const NAMES = ['adminToken', 'postgresPassword', 'redisPassword'] as const

/**
 * The secrets of this data directory, made at random (192 bits each) on the first start and kept in
 * `secrets.json`, which only this user can read.
 * @throws SetupError WRONG_SETTING when the file is not what was written
 */
export async function keepSecrets(dataDir: string): Promise<Secrets> {
  const file = join(dataDir, 'secrets.json')
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}'
    throw error
  })
  const kept = parse(text, file)
  const secrets = Object.fromEntries(
    NAMES.map((name) => [name, kept[name] ?? randomBytes(24).toString('base64url')]),
  ) as Secrets
  if (NAMES.some((name) => kept[name] === undefined)) {
    // Renamed into place: a half-written file would lock us out of data that was made with its passwords.
    await writeFile(`${file}.new`, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flush: true })
    await rename(`${file}.new`, file)
  }
  await chmod(file, 0o600)
  return secrets
}

function parse(text: string, file: string): Partial<Secrets> {
  try {
    const kept: unknown = JSON.parse(text)
    if (
      typeof kept === 'object' &&
      kept !== null &&
      Object.values(kept).every((value) => typeof value === 'string')
    ) {
      return kept
    }
  } catch {
    // answered below, like JSON of another shape
  }
  throw new SetupError(
    'WRONG_SETTING',
    `${file} is not readable as JSON with text values. Restore it, or delete it together with the data beside it.`,
  )
}
