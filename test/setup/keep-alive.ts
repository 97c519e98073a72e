import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'

export interface KeptAnswer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came, and asserts on it
  body: any
  headers: IncomingMessage['headers']
}

/** How a call without an answer ended. */
export class NoAnswer extends Error {
  /** of the socket, such as ECONNREFUSED (never sent) or ECONNRESET */
  readonly code: string
  /** whether it was the first call on its connection */
  readonly isFirst: boolean
  constructor(code: string, isFirst: boolean) {
    super(`no answer: ${code}`)
    this.code = code
    this.isFirst = isFirst
  }
}

/** A client as plain as they come: it keeps its connections, and sends nothing a second time by itself. */
export function createKeepAliveClient(connections: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  return {
    /** POSTs JSON. @throws NoAnswer */
    async post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<KeptAnswer> {
      const call = request(url, {
        agent,
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
      })
      try {
        call.end(JSON.stringify(body))
        const [response] = (await once(call, 'response')) as [IncomingMessage]
        const answer = await text(response)
        return { status: response.statusCode ?? 0, body: JSON.parse(answer), headers: response.headers }
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
        throw new NoAnswer(code, !call.reusedSocket)
      }
    },
    close: () => agent.destroy(),
  }
}
