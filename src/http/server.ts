import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { Api } from './openapi.ts'

/**
 * Makes the HTTP server of an application; it does not listen yet. Its limits are against clients that are slow, on
 * purpose or not: bodies are 64 KiB at most, so who needs longer than this to send one only holds a connection.
 */
export function createHttpServer(api: Pick<Api, 'fetch'>): Server {
  const server = createAdaptorServer({
    fetch: api.fetch,
    serverOptions: {
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
    },
  }) as Server
  // No limit on the requests of a connection: those of a load balancer carry everybody's. A limit on connections
  // stands where file descriptors would run out: beyond it they are closed at once.
  server.maxConnections = 20_000
  server.maxHeadersCount = 100
  return server
}
