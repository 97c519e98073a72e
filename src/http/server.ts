import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { getRequestListener, RequestError } from '@hono/node-server'
import { createMalformed } from './malformed.ts'
import { WholeMessage } from './message.ts'
import type { Api } from './openapi.ts'

/** For `request.url` where a request of HTTP/1.0 names no host. Nothing here depends on it. */
const hostname = 'localhost'

/**
 * Makes the HTTP server of an application; it does not listen yet. Its limits are against clients that are slow, on
 * purpose or not: bodies are 64 KiB at most, so who needs longer than this to send one only holds a connection.
 */
export function createHttpServer(api: Pick<Api, 'fetch'>, newRequestId: () => string): Server {
  const { turnAway, onClientError } = createMalformed(newRequestId)
  // Two variables and no object, which each request would have to make.
  let askedLast: IncomingMessage
  let answeredLast: ServerResponse
  const listener = getRequestListener(api.fetch, {
    hostname,
    errorHandler(error) {
      if (!(error instanceof RequestError)) return new Response(null, { status: 500 })
      // It is not told of which request, but within the call of the listener: of the last one.
      turnAway(askedLast, answeredLast, 'The host or the path is not valid')
      return undefined
    },
  })
  const server = createServer(
    {
      /** ms for the head of a request: it fits a packet or two */
      headersTimeout: 5000,
      /** ms for a whole request, from its first byte to the end of its body; the answer is not counted */
      requestTimeout: 15_000,
      /** ms between two looks for connections that are overdue by the two above */
      connectionsCheckingInterval: 2000,
      /** ms that an idle connection is kept: longer than the minute that load balancers keep theirs, so that they close first and send nothing into a connection that is closing */
      keepAliveTimeout: 65_000,
      /** bytes of all headers; a token has room */
      maxHeaderSize: 16_384,
      /** a request without a body has no stream to be read to its end: nobody does, and it costs a microsecond */
      optimizeEmptyRequests: true,
      /** what HTTP/1.1 demands, Node would refuse without a word */
      requireHostHeader: false,
      IncomingMessage: WholeMessage,
    },
    (incoming, outgoing) => {
      if (incoming.headers.host === undefined && incoming.httpVersion === '1.1') {
        return turnAway(incoming, outgoing, 'The Host header is missing')
      }
      incoming.whenReady(() => {
        askedLast = incoming
        answeredLast = outgoing
        void listener(incoming, outgoing)
      })
    },
  )
  server.on('clientError', onClientError)
  server.on('checkExpectation', (incoming, outgoing) =>
    turnAway(incoming, outgoing, 'The Expect header is not known here'),
  )
  // No limit on the requests of a connection: those of a load balancer carry everybody's. A limit on connections
  // stands where file descriptors would run out: beyond it they are closed at once.
  server.maxConnections = 20_000
  server.maxHeadersCount = 100
  return server
}
