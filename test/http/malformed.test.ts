import { once } from 'node:events'
import type { Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHttpServer } from '../../src/http/server.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

let harness: Harness
let server: Server
beforeAll(async () => {
  harness = await startHarness()
  server = createHttpServer(harness.app, () => 'made-id')
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(async () => {
  server.close()
  await once(server, 'close')
  await harness.stop()
})

/** Sends bytes as they are, and gives what comes until the server closes. */
async function send(bytes: string, more?: { after: RegExp; bytes: string }): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setEncoding('latin1')
  socket.on('error', () => undefined)
  socket.write(bytes, 'latin1')
  let text = ''
  let isMoreSent = false
  for await (const part of socket) {
    text += part
    if (!more || isMoreSent || !more.after.test(text)) continue
    isMoreSent = true
    socket.write(more.bytes)
  }
  return text
}

function parse(text: string) {
  const [head = '', ...body] = text.split('\r\n\r\n')
  const [line = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(
    lines.map((each) => [each.slice(0, each.indexOf(':')).toLowerCase(), each.slice(each.indexOf(':') + 2)]),
  )
  return { line, headers, body: body.join('\r\n\r\n') }
}

const post = 'POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'

describe('what is no request of the application', () => {
  it.each([
    ['a host that is none', 'GET /livez HTTP/1.1\r\nHost: a b/c\r\n\r\n', '/livez'],
    ['no host in HTTP/1.1', 'GET /livez?x=1 HTTP/1.1\r\n\r\n', '/livez'],
    ['OPTIONS *', 'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n', '*'],
    ['a chunk that is none', `${post}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`, '/v1/orders'],
    ['a length that is none', `${post}Content-Length: 1x\r\n\r\n`, ''],
    ['two lengths', `${post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`, ''],
    ['a line that is none', 'hello\r\n\r\n', ''],
    ['bytes of TLS', '\x16\x03\x01\x02\x00\x01\x00', ''],
    ['too many headers', `GET /livez HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`, ''],
    ['an expectation', 'GET /livez HTTP/1.1\r\nHost: x\r\nExpect: foo\r\n\r\n', '/livez'],
  ])('[ALL-3] is 400 as a problem document, and the connection ends: %s', async (_, bytes, instance) => {
    const { line, headers, body } = parse(await send(bytes))
    expect(line).toBe('HTTP/1.1 400 Bad Request')
    expect(headers).toMatchObject({
      'content-type': 'application/problem+json',
      'content-length': String(Buffer.byteLength(body)),
      'x-request-id': 'made-id',
      'x-content-type-options': 'nosniff',
      connection: 'close',
    })
    expect(JSON.parse(body)).toEqual({
      type: 'urn:seonchak:problem:validation-failed',
      title: 'The request is not valid',
      status: 400,
      code: 'VALIDATION_FAILED',
      detail: 'The request is not valid',
      instance,
      requestId: 'made-id',
      errors: [{ path: '', message: expect.stringMatching(/^The .+/) }],
    })
  })

  it('[ALL-3] keeps the id of the caller where the headers can be read', async () => {
    for (const rest of ['Expect: foo\r\n\r\n', 'Transfer-Encoding: chunked\r\n\r\nxyz\r\n']) {
      const { headers, body } = parse(await send(`${post}X-Request-Id: mine\r\n${rest}`))
      expect([headers['x-request-id'], JSON.parse(body).requestId]).toEqual(['mine', 'mine'])
    }
  })

  it('[ALL-3] is not answered in the place of the request before it, whose answer still comes', async () => {
    const text = await send('GET /v1/products HTTP/1.1\r\nHost: x\r\n\r\nrubbish\r\n\r\n')
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    const { line, headers, body } = parse(text)
    expect([line, headers.connection]).toEqual(['HTTP/1.1 200 OK', 'close'])
    expect(JSON.parse(body)).toEqual({ items: [], nextCursor: null })
  })

  it('[ALL-3] is answered when the request before it has been', async () => {
    const first = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'
    const text = await send(first, { after: /"live"\}/, bytes: 'rubbish\r\n\r\n' })
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400'])
  })
})

describe('HTTP/1.0', () => {
  it.each(['/livez', '/readyz', '/v1/products'])('[ALL-3] is served without a host: %s', async (path) => {
    expect(parse(await send(`GET ${path} HTTP/1.0\r\n\r\n`)).line).toBe('HTTP/1.1 200 OK')
  })
})
