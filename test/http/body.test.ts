import { once } from 'node:events'
import { request as httpRequest, type OutgoingHttpHeaders, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHttpServer } from '../../src/http/server.ts'
import { adminToken, type Harness, startHarness, until } from '../setup/harness.ts'

const path = '/v1/coupon-policies/1/issue'
const maxBytes = 64 * 1024
let harness: Harness
let server: Server

beforeAll(async () => {
  harness = await startHarness()
  server = createHttpServer(harness.app, harness.deps.newRequestId)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(async () => {
  server.close()
  await once(server, 'close')
  await harness.stop()
})

/** Posts over a socket, as bytes: with Content-Length, or in chunks where a list is given. */
async function post(body: string | Buffer | (string | Buffer)[], headers: OutgoingHttpHeaders = {}) {
  const sending = httpRequest({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    path,
    method: 'POST',
    agent: false,
    headers: Array.isArray(body) ? headers : { 'Content-Length': Buffer.byteLength(body), ...headers },
  })
  // What is refused before it is read may be cut off; the answer counts.
  sending.on('error', () => undefined)
  for (const part of Array.isArray(body) ? body : [body]) sending.write(part)
  sending.end()
  const [response] = await once(sending, 'response')
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) }
}

const json = { 'Content-Type': 'application/json' }
const padded = (bytes: number) => '{"userId":0}'.padEnd(bytes, ' ')

describe('size', () => {
  it.each([1, 2, 10])('over 64 KiB by announced length is 413 (%i times)', async (times) => {
    const { status, headers, body } = await post(padded(maxBytes * times + 1), json)
    expect([status, body.code]).toEqual([413, 'BODY_TOO_LARGE'])
    expect(headers).toMatchObject({ 'content-type': 'application/problem+json', connection: 'close' })
    expect(body).toMatchObject({ detail: 'At most 65536 bytes are taken.', instance: path })
  })

  it('over 64 KiB in chunks that announce nothing is 413', async () => {
    const { status, headers, body } = await post([padded(maxBytes), ' '], json)
    expect([status, body.code, headers.connection]).toEqual([413, 'BODY_TOO_LARGE', 'close'])
  })

  it('of an endless body is refused without waiting for its end', async () => {
    const stream = new ReadableStream({
      pull(controller) {
        controller.enqueue(new TextEncoder().encode(padded(10_000)))
      },
    })
    const response = await harness.app.request(path, {
      method: 'POST',
      body: stream,
      headers: json,
      duplex: 'half',
    } as RequestInit)
    expect(response.status).toBe(413)
  })

  it('of exactly 64 KiB is taken, announced or in chunks', async () => {
    for (const body of [padded(maxBytes), [padded(maxBytes - 5), '     ']]) {
      const answer = await post(body, json)
      expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(answer.body.errors).toEqual([{ path: 'userId', message: expect.any(String) }])
    }
  })

  it('is counted in bytes, not in characters', async () => {
    const body = `{"userId":"${'선'.repeat(maxBytes / 3)}"}`
    expect(body.length).toBeLessThan(maxBytes)
    expect((await post(body, json)).status).toBe(413)
  })

  it('over 64 KiB is 413 under the admin routes too', async () => {
    const admin = '/v1/admin/coupon-policies'
    for (const headers of [{ 'Content-Length': String(maxBytes + 1) }, {}]) {
      const authorization = { Authorization: `Bearer ${adminToken}`, ...headers }
      const { status, body } = await harness.call('POST', admin, padded(maxBytes + 1), authorization)
      expect([status, body.code]).toEqual([413, 'BODY_TOO_LARGE'])
    }
  })
})

describe('type', () => {
  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json; charset=utf-16',
    'application/json; charset=iso-8859-1',
    'application/json; charset=utf-8; charset=utf-16',
    'application/jsonp',
    'application/vnd.api+json',
    'text/json',
    'json',
    '*/*',
    'application/json, text/plain',
  ])('%s is 415', async (type) => {
    const { status, headers, body } = await post('{"userId":1}', { 'Content-Type': type })
    expect([status, body.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
    expect(headers['content-type']).toBe('application/problem+json')
  })

  it('none with a body is 415, announced, in chunks or in memory', async () => {
    for (const body of ['{"userId":1}', ['{"userId":1}']]) {
      const answer = await post(body)
      expect([answer.status, answer.body.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
    }
    const bytes = new TextEncoder().encode('{"userId":1}')
    expect((await harness.app.request(path, { method: 'POST', body: bytes })).status).toBe(415)
  })

  it('of a body that is not there does not matter: an optional one is none, a required one is missing', async () => {
    const cancel = '/v1/orders/01890000-0000-7000-8000-000000000000/cancel'
    for (const type of [json, {}]) {
      const call = { method: 'POST', headers: { ...type, 'Content-Length': '0' } }
      const canceled = await harness.app.request(cancel, call)
      expect([canceled.status, ((await canceled.json()) as { code: string }).code]).toEqual([
        404,
        'ORDER_NOT_FOUND',
      ])
      const issued = await harness.app.request(path, call)
      expect([
        issued.status,
        ((await issued.json()) as { errors: { path: string }[] }).errors[0]?.path,
      ]).toEqual([400, 'userId'])
    }
  })

  it('none without a body is judged by the schema', async () => {
    const answer = await post('')
    expect([answer.status, answer.body.code]).toEqual([400, 'VALIDATION_FAILED'])
  })

  it.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'application/json ; charset=utf-8',
    'application/json; charset="utf-8"',
    'Application/JSON',
  ])('%s is taken', async (type) => {
    // Valid, so that the route is reached: there is no such policy.
    const answer = await post('{"userId":1}', { 'Content-Type': type })
    expect([answer.status, answer.body.code]).toEqual([404, 'COUPON_POLICY_NOT_FOUND'])
  })
})

describe('content', () => {
  it.each(['{', '{"userId":1', '{"userId":1}}', "{'userId':1}", 'undefined', '{"userId":01}', '\u0000'])(
    'that is not JSON is 400: %j',
    async (text) => {
      const { status, body } = await post(text, json)
      expect([status, body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(body.errors).toEqual([{ path: '', message: 'The body is not valid JSON' }])
    },
  )

  it.each(['null', '[]', '1', '"text"', 'true'])('that is JSON and no object is 400: %s', async (text) => {
    const { status, body } = await post(text, json)
    expect([status, body.code]).toEqual([400, 'VALIDATION_FAILED'])
    expect(body.errors).toEqual([{ path: '', message: expect.stringMatching(/object/) }])
  })

  it('[ALL-3] that is not UTF-8 is 400, announced, in chunks or in memory', async () => {
    const bytes = Buffer.concat([Buffer.from('{"userId":1,"'), Buffer.from([0xff]), Buffer.from('":1}')])
    const inMemory = await harness.app.request(path, { method: 'POST', body: bytes, headers: json })
    const announced = await harness.app.request(path, {
      method: 'POST',
      body: bytes,
      headers: { ...json, 'Content-Length': String(bytes.length) },
    })
    for (const { status, body } of [
      await post(bytes, json),
      await post([bytes], json),
      { status: inMemory.status, body: await inMemory.json() },
      { status: announced.status, body: await announced.json() },
    ]) {
      expect([status, body.code]).toEqual([400, 'VALIDATION_FAILED'])
      expect(body.errors).toEqual([{ path: '', message: 'The body is not valid UTF-8' }])
    }
  })

  it.each(['\\ud83d', '\\ude00', 'a\\ude00\\ud83db'])(
    '[ALL-3] whose name is half a character is 400: %s',
    async (name) => {
      const text = `{"name":"${name}","price":1,"stock":1}`
      const { status, body } = await harness.admin('POST', '/v1/admin/products', text)
      expect([status, body.errors?.[0].path]).toEqual([400, 'name'])
    },
  )
})

describe('arrival', () => {
  it('of a body byte by byte is the same as at once, and the next request on the connection is read', async () => {
    const connection = talk()
    const body = '{"userId":0}'
    connection.send(head('Content-Length: 12'))
    for (const byte of body) {
      connection.send(byte)
      await setImmediate()
    }
    connection.send(`${head('Content-Length: 13')}{"userId":-1}`)
    await until('both answers', async () => connection.statuses().length === 2)
    expect(connection.statuses()).toEqual([400, 400])
    connection.end()
  })

  it('of several requests with bodies in one packet is answered in their order', async () => {
    const connection = talk()
    const bodies = ['{', '{"userId":1}', '', '[]', '{"userId":1}']
    connection.send(bodies.map((body) => `${head(`Content-Length: ${body.length}`)}${body}`).join(''))
    await until('all answers', async () => connection.statuses().length === bodies.length)
    expect(connection.statuses()).toEqual([400, 404, 400, 400, 404])
    connection.end()
  })

  it('of a body that nobody reads leaves the connection to the next request', async () => {
    const connection = talk()
    const unread = 'POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n'
    connection.send(`${unread}abc`)
    await until('the first answer', async () => connection.statuses().length === 1)
    connection.send(`${unread}abcGET /livez HTTP/1.1\r\nHost: x\r\n\r\n`)
    await until('the others', async () => connection.statuses().length === 3)
    expect(connection.statuses()).toEqual([404, 404, 200])
    connection.end()
  })
})

describe('a client that goes away in the middle of its body', () => {
  const endings = ['end', 'resetAndDestroy'] as const

  it.each(endings)(
    '[ALL-3] announced: is never heard of, though what came of it is valid by itself, by %s',
    async (ending) => {
      const policyId = await harness.policy()
      const before = await counted()
      const connection = talk()
      connection.send(`${head('Content-Length: 40', policyId)}{"userId":77}`)
      const [incoming] = await once(server, 'request')
      // Half of a connection, so that all that was sent arrives, and then its end; or all of it.
      connection[ending]()
      await until('the end of the connection', async () => incoming.socket.destroyed)
      await nothingIssued(policyId)
      expect(await counted()).toBe(before)
    },
  )

  it.each(endings)(
    '[ALL-3] in chunks: is taken for nothing, though what came of it is valid by itself, by %s',
    async (ending) => {
      const policyId = await harness.policy()
      const before = await counted()
      const connection = talk()
      connection.send(`${head('Transfer-Encoding: chunked', policyId)}d\r\n{"userId":77}\r\n`)
      await once(server, 'request')
      connection[ending]()
      await until('the answer to nobody', async () => (await counted()) === before + 1)
      await nothingIssued(policyId)
    },
  )
})

/** The head of a request for a coupon. */
function head(framing: string, policyId = 1): string {
  const lines = [
    `POST /v1/coupon-policies/${policyId}/issue HTTP/1.1`,
    'Host: x',
    'Content-Type: application/json',
    framing,
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

/** A connection that speaks in bytes. */
function talk() {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setNoDelay()
  let heard = ''
  socket.on('error', () => undefined)
  socket.setEncoding('latin1').on('data', (text) => {
    heard += text
  })
  return {
    send: (bytes: string) => void socket.write(bytes),
    statuses: () => [...heard.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status)),
    end: () => void socket.end(),
    resetAndDestroy: () => void socket.resetAndDestroy(),
  }
}

async function nothingIssued(policyId: number): Promise<void> {
  expect(await harness.sql`select from coupons where policy_id = ${policyId}`).toEqual([])
  expect((await harness.get(`/v1/coupon-policies/${policyId}`)).body.remainingQuantity).toBe(10)
  expect(await harness.deps.metrics.scrape()).not.toMatch(/_http_requests_total.*issue".*UNAVAILABLE/)
}

/** Invalid requests for coupons so far, as the metrics count them. */
async function counted(): Promise<number> {
  const text = await harness.deps.metrics.scrape()
  const line = text
    .split('\n')
    .find((each) => each.startsWith('seonchak_http_requests_total') && /issue".*VALIDATION_FAILED/.test(each))
  return Number(line?.split(' ').at(-1) ?? 0)
}
