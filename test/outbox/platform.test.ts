import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { ClaimedEvent } from '../../src/outbox/outbox.sql.ts'
import { createPlatform } from '../../src/outbox/platform.ts'

const event: ClaimedEvent = {
  position: 1,
  eventId: '01900000-0000-7000-8000-000000000001',
  type: 'order.paid',
  occurredAt: new Date('2026-11-22T00:00:00.123Z'),
  attempts: 1,
  payload: '{"id":"01900000-0000-7000-8000-000000000002","name":"수제 \\"머리핀\\""}',
}
const never = new AbortController().signal

let server: Server | undefined
afterEach(async () => {
  server?.closeAllConnections()
  server?.close()
  server = undefined
})

/** A platform that answers as it is told. Gives its host and port. */
async function listen(answer: RequestListener): Promise<string> {
  server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const post = (host: string, options: { path?: string; credentials?: string; cut?: AbortSignal } = {}) =>
  createPlatform({
    url: `http://${options.credentials ?? ''}${host}${options.path ?? '/events'}`,
    timeoutMs: 300,
  }).post([event, { ...event, position: 2 }], options.cut ?? never)

const answering = (status: number, headers: Record<string, string> = {}): RequestListener => {
  return (_, response) => response.writeHead(status, headers).end('whatever')
}

describe('a post to the data platform', () => {
  it('[ORD-7] carries the events as JSON, each order as it was stored', async () => {
    const bodies: unknown[] = []
    const host = await listen(async (request, response) => {
      bodies.push(request.method, request.url, request.headers['content-type'], await json(request))
      response.writeHead(202).end()
    })
    expect(await post(host, { path: '/in/events?source=shop' })).toEqual({ delivered: true })
    const { eventId, type } = event
    const one = {
      eventId,
      type,
      occurredAt: '2026-11-22T00:00:00.123Z',
      order: JSON.parse(event.payload),
    }
    expect(bodies).toEqual(['POST', '/in/events?source=shop', 'application/json', { events: [one, one] }])
  })

  it.each([200, 201, 204])('[ORD-7] counts as delivered with %i', async (status) => {
    expect(await post(await listen(answering(status)))).toEqual({ delivered: true })
  })

  it.each([400, 409, 413, 422])('[ORD-7] was refused with %i', async (status) => {
    expect(await post(await listen(answering(status)))).toEqual({
      delivered: false,
      fault: 'refused',
      reason: `answered ${status}`,
    })
  })

  it.each([302, 307, 401, 403, 404, 408, 429, 500, 502, 503, 504])(
    '[ORD-7] tells with %i that the platform is away',
    async (status) => {
      const answer = await post(await listen(answering(status, { Location: '/elsewhere' })))
      expect(answer).toEqual({ delivered: false, fault: 'away', reason: `answered ${status}` })
    },
  )

  it('[ORD-7] counts by its status when the answer breaks off, and reads only so much of a long one', async () => {
    const broken = await listen((_, response) => {
      response.writeHead(200, { 'Content-Length': 100 }).write('half')
      response.socket?.destroySoon()
    })
    expect(await post(broken)).toEqual({ delivered: true })
    server?.close()
    const endless = await listen((request, response) => {
      const more = () => response.write('x'.repeat(60_000), () => request.socket.destroyed || more())
      more()
    })
    expect(await post(endless)).toEqual({ delivered: true })
  })

  it('[ORD-7] ends at its deadline when no answer comes, or no end of one', async () => {
    const silent = { delivered: false, fault: 'away', reason: 'no answer within 300 ms' }
    expect(await post(await listen(() => undefined))).toEqual(silent)
    server?.close()
    const headOnly = await listen((_, response) => response.writeHead(200).write('half'))
    expect(await post(headOnly)).toEqual({ delivered: true })
  })

  it('[ORD-7] tells by a code when nobody listens, or the connection breaks', async () => {
    const host = await listen((request) => request.socket.destroy())
    expect(await post(host)).toEqual({
      delivered: false,
      fault: 'away',
      reason: 'no answer: UND_ERR_SOCKET',
    })
    server?.close()
    const refused = { delivered: false, fault: 'away', reason: 'no answer: ECONNREFUSED' }
    expect(await post(host)).toEqual(refused)
  })

  it('[ORD-7] is given up when it is cut', async () => {
    const cut = new AbortController()
    const host = await listen(() => cut.abort())
    expect(await post(host, { cut: cut.signal })).toMatchObject({ delivered: false, fault: 'away' })
  })

  it('[ORD-7] shows the user and password of the URL to the platform, and to nobody else', async () => {
    let seen: string | undefined
    const host = await listen((request, response) => {
      seen = request.headers.authorization
      response.writeHead(500).end()
    })
    const answer = await post(host, { credentials: 'shop:s%40cret@' })
    expect(seen).toBe(`Basic ${Buffer.from('shop:s@cret').toString('base64')}`)
    expect(JSON.stringify(answer)).not.toMatch(/s.*cret/)
  })
})

async function json(request: AsyncIterable<Buffer>): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return JSON.parse(Buffer.concat(chunks).toString('utf8'))
}
