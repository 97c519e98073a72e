import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { SetupError } from './setup-error.ts'

/**
 * Ports to choose from lie below the range that Linux (32768+) and macOS (49152+) give to outgoing connections: a
 * client that retries a stopped server whose port lies in that range can be given this very port as its own, and
 * then holds it against the server that wants to come back.
 */
const FIRST_PORT = 20_000
const LAST_PORT = 31_999
const LOOPBACK = ['127.0.0.1']

/**
 * Whether a server can listen on the port, found out by doing so for a moment.
 * @param hosts all of these addresses must be free; `::` stands for every address of the machine
 * @returns undefined when it can, else the system's code, such as EADDRINUSE or EACCES
 */
export async function portFault(
  port: number,
  hosts: readonly string[] = LOOPBACK,
): Promise<string | undefined> {
  for (const host of hosts) {
    const fault = await listenFault(port, host)
    // A machine without IPv6 cannot take part in a conflict over it.
    if (fault !== undefined && fault !== 'EAFNOSUPPORT' && fault !== 'EADDRNOTAVAIL') return fault
  }
  return undefined
}

function listenFault(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    // A client that looks for its server just then must go on looking: a connection that stays would hold the port, and
    // the client until its deadline.
    const probe = createServer((socket) => socket.resetAndDestroy())
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(undefined)))
  })
}

/**
 * Makes sure that the port can be listened on.
 * @param options.what who wants the port, as the subject of the message
 * @param options.remedy what a person can do about it, one sentence
 * @throws SetupError PORT_TAKEN
 */
export async function assertPortFree(
  port: number,
  options: { what: string; remedy: string; hosts?: readonly string[] },
): Promise<void> {
  const fault = await portFault(port, options.hosts)
  if (fault === undefined) return
  const reason =
    fault === 'EADDRINUSE'
      ? 'another program listens there'
      : fault === 'EACCES'
        ? 'this user may not listen there'
        : fault
  throw new SetupError('PORT_TAKEN', `${options.what} cannot have port ${port}: ${reason}. ${options.remedy}`)
}

/**
 * A port that is free on the loopback address at this moment. Another process may take it before it is used, so
 * whoever starts a server on it tries again with another one.
 * @param preferred taken when it is free, so that addresses stay the same from start to start
 * @throws SetupError PORT_TAKEN when none of many random ports is free
 */
export async function pickPort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await portFault(preferred)) === undefined) return preferred
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(FIRST_PORT, LAST_PORT + 1)
    if ((await portFault(port)) === undefined) return port
  }
  throw new SetupError(
    'PORT_TAKEN',
    `No free port found between ${FIRST_PORT} and ${LAST_PORT} on 127.0.0.1.`,
  )
}
