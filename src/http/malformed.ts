import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { refuse } from '../errors.ts'
import { withSafeHeaders } from './headers.ts'
import { problemText, problemType } from './problem.ts'
import { requestIdOf } from './request-id.ts'

/** What is wrong with bytes that are no request, by the code of Node's error. */
const faults: Record<string, string> = {
  HPE_HEADER_OVERFLOW: 'The headers are too large',
  ERR_HTTP_REQUEST_TIMEOUT: 'The request took too long to arrive',
}

/** Answers what the server, and not the application, turns away: as a problem document, and then the connection ends. */
export interface Malformed {
  /** Answers a request that the application cannot be given. */
  turnAway(incoming: IncomingMessage, outgoing: ServerResponse, message: string): void
  /** Answers what cannot be read as a request; a listener for `clientError`. */
  onClientError(error: NodeJS.ErrnoException, socket: Socket): void
}

/** Makes the answers to what never becomes a request of the application. */
export function createMalformed(newRequestId: () => string): Malformed {
  function answerTo(incoming: IncomingMessage | undefined, message: string) {
    const requestId = requestIdOf(incoming?.headers['x-request-id'], newRequestId)
    const refusal = refuse('VALIDATION_FAILED', undefined, { errors: [{ path: '', message }] })
    const { status, answer } = problemText(refusal, incoming?.url?.split('?')[0] ?? '', requestId)
    const headers = {
      ...withSafeHeaders(problemType, requestId),
      'Content-Length': String(Buffer.byteLength(answer)),
      Connection: 'close',
    }
    return { status, answer, headers }
  }

  return {
    turnAway(incoming, outgoing, message) {
      const { status, answer, headers } = answerTo(incoming, message)
      outgoing.writeHead(status, headers).end(answer)
    },
    onClientError(error, socket) {
      // Node's own name for the answer that a connection is waiting for.
      const awaited = Reflect.get(socket, '_httpMessage') as
        | ServerResponse<IncomingMessage>
        | null
        | undefined
      if (awaited?.req.complete && !awaited.headersSent) {
        // The fault lies behind that request: its answer comes as it would, and is the last one.
        awaited.shouldKeepAlive = false
        return
      }
      // An answer that has begun is not followed by another, and one of ours by none.
      if (awaited?.headersSent || !socket.writable) return socket.destroySoon()
      const fault = faults[error.code ?? ''] ?? 'The request is not valid HTTP'
      const { status, answer, headers } = answerTo(awaited?.req, fault)
      const lines = Object.entries({ Date: new Date().toUTCString(), ...headers })
      const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
      socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head}\r\n${answer}`)
      socket.destroySoon()
    },
  }
}
