import { type Owner, run } from './os-process.ts'
import { plainMessage, SetupError } from './setup-error.ts'

const NAME = 'postgres'

/**
 * Who Postgres is to run as: it refuses root, so root runs it as the system user `postgres`, made when missing
 * (after saying so). Anybody else runs it as oneself.
 * @returns undefined for oneself
 * @throws SetupError NOT_PERMITTED when there is no such user and none can be made
 */
export async function postgresOwner(log: (line: string) => void): Promise<Owner | undefined> {
  if (process.geteuid?.() !== 0) return undefined
  const existing = await lookUp()
  if (existing) return existing
  log(`Postgres does not run as root: making the system user "${NAME}" for it`)
  const said = await makeUser()
  // Whatever useradd said: another process may have made the user at the same moment.
  const made = await lookUp()
  if (made) return made
  throw new SetupError(
    'NOT_PERMITTED',
    `Postgres does not run as root, and the user "${NAME}" cannot be made: ${said.trim()}. ` +
      'Start as another user than root, or set DATABASE_URL to a Postgres that runs already.',
  )
}

async function lookUp(): Promise<Owner | undefined> {
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map((flag) => run('/usr/bin/id', [flag, NAME], { timeoutMs: 10_000 })),
  )
  if (uid?.code === 1 || gid?.code === 1) return undefined
  if (uid?.code !== 0 || gid?.code !== 0)
    throw new SetupError('START_FAILED', `"id -u ${NAME}" was interrupted.`)
  return { uid: Number(uid.output), gid: Number(gid.output) }
}

async function makeUser(): Promise<string> {
  const add = async (...group: string[]) => {
    const args = [
      '--system',
      ...group,
      '--no-create-home',
      '--home-dir',
      '/nonexistent',
      '--shell',
      '/bin/false',
      NAME,
    ]
    return run('/usr/sbin/useradd', args, { timeoutMs: 10_000 })
  }
  try {
    const alone = await add('--user-group')
    if (alone.code === 0) return ''
    // A group of this name may have outlived its user.
    const intoGroup = await add('--gid', NAME)
    return intoGroup.code === 0 ? '' : alone.output
  } catch (error) {
    return plainMessage(error)
  }
}
