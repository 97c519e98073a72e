import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'

const betweenSweepsMs = 50
/** Connections that are kept at least before those that have closed are looked for. */
const minKept = 1024

export interface Drain {
  /** From here on every answer says `Connection: close`, those under way included, so that connections run out. */
  begin(): void
  /**
   * Stops accepting, and resolves when the last answer is out. A connection without a request is kept for `idleGraceMs`
   * more: a request may be on its way on it.
   */
  close(idleGraceMs: number): Promise<void>
}

/** Prepares the graceful end of a server, before it listens. */
export function createDrain(server: Server): Drain {
  // Those that have closed are dropped now and then, and not by a listener for 'close': with a second one beside Node's
  // own, each request on a connection outlived the collections of young space, which took 40 ms each (docs/benchmarks.md).
  let sockets: Socket[] = []
  let full = minKept
  server.on('connection', (socket: Socket) => {
    if (sockets.length >= full) {
      sockets = sockets.filter(({ destroyed }) => !destroyed)
      full = Math.max(minKept, 2 * sockets.length)
    }
    sockets.push(socket)
  })
  const lastAnswer = (_request: IncomingMessage | undefined, response: ServerResponse) => {
    response.shouldKeepAlive = false
  }

  return {
    begin() {
      server.prependListener('request', lastAnswer)
      for (const socket of sockets) {
        // Node's own name for the answer that a connection is waiting for; to keep a list of them would cost each request.
        const response = Reflect.get(socket, '_httpMessage') as ServerResponse | null | undefined
        if (response && !response.headersSent) lastAnswer(undefined, response)
      }
    },
    async close(idleGraceMs) {
      const closed = new Promise<void>((resolve) => {
        // Not the method of the HTTP server: that one closes at once what is idle, and so breaks the connection of a
        // client that has just sent a request.
        NetServer.prototype.close.call(server, () => resolve())
      })
      let sweep: NodeJS.Timeout | undefined
      const grace = setTimeout(() => {
        sweep = setInterval(() => {
          server.closeIdleConnections()
          // One that never said anything does not count as idle.
          for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
        }, betweenSweepsMs)
      }, idleGraceMs)
      await closed
      clearTimeout(grace)
      clearInterval(sweep)
    },
  }
}
