import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { json } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from 'vitest'
import type { PlainRequest } from '../../scripts/bench/traffic.ts'
import { openWire, type Wire } from '../../scripts/bench/wire.ts'

let server: Server
let wire: Wire

afterEach(() => {
  wire.close()
  server.close()
})

async function listen(listening: Server): Promise<void> {
  server = listening.listen(0, '127.0.0.1')
  await once(server, 'listening')
  wire = openWire(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

/** A server that says these parts, one after the other was read, to each request, and closes where there are none. */
const listenWith = (...parts: string[]) =>
  listen(
    createServer((socket: Socket) => {
      socket.setNoDelay(true).on('error', () => undefined)
      socket.on('data', async () => {
        if (parts.length === 0) socket.destroy()
        for (const part of parts)
          await new Promise((resolve) => socket.write(part, () => setImmediate(resolve)))
      })
    }),
  )

type End = { status: number; body: string } | { failure: string }

const ask = (request: PlainRequest = { method: 'GET', path: '/' }) =>
  new Promise<End>((resolve) => {
    wire.send(request, {
      onAnswer: (status, body) => resolve({ status, body }),
      onFailure: (failure) => resolve({ failure }),
    })
  })

test('what it sends is HTTP, one request after the other on one connection', async () => {
  const seen: object[] = []
  const sockets = new Set<Socket>()
  await listen(
    createHttpServer(async (request, response) => {
      sockets.add(request.socket)
      const body = request.method === 'POST' ? await json(request) : undefined
      seen.push({ url: request.url, type: request.headers['content-type'], body })
      response.statusCode = 409
      response.end(JSON.stringify({ code: 'SOLD_OUT' }))
    }),
  )
  const headers = ['content-type', 'application/json']
  const refused = { status: 409, body: '{"code":"SOLD_OUT"}' }
  expect(await ask({ method: 'POST', path: '/a', headers, body: '{"userId":1}' })).toEqual(refused)
  expect(await ask({ method: 'GET', path: '/b?c=d' })).toEqual(refused)
  expect(seen).toEqual([
    { url: '/a', type: 'application/json', body: { userId: 1 } },
    { url: '/b?c=d', type: undefined, body: undefined },
  ])
  expect(sockets.size).toBe(1)
})

test('an answer may come in pieces, and only the body of a refusal is given', async () => {
  await listenWith('HTTP/1.1 404 Not F', 'ound\r\nContent-Le', 'ngth: 6\r\nA: b\r\n\r', '\nabc', 'def')
  expect(await ask()).toEqual({ status: 404, body: 'abcdef' })
  expect(await ask()).toEqual({ status: 404, body: 'abcdef' })
  server.close()
  wire.close()
  await listenWith('HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n', '{}')
  expect(await ask()).toEqual({ status: 201, body: '' })
})

describe('what is not one answer of a known length is a failure', () => {
  const failed = { failure: expect.any(String) }
  test.each([
    ['chunks', ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n']],
    ['two answers at once', ['HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'.repeat(2)]],
    ['no HTTP', ['SSH-2.0\r\n\r\n']],
    ['a head without an end', [`HTTP/1.1 200 OK\r\nA: ${'a'.repeat(40_000)}`]],
    ['an answer beyond any', ['HTTP/1.1 200 OK\r\ncontent-length: 99000000\r\n\r\n']],
    ['a connection that is closed', []],
  ])('%s', async (_, parts) => {
    await listenWith(...parts)
    expect(await ask()).toEqual(failed)
    // And again on a new connection.
    expect(await ask()).toEqual(failed)
  })

  test('nobody listens', async () => {
    await listenWith()
    server.close()
    expect(await ask()).toEqual({ failure: 'ECONNREFUSED' })
  })

  test('an answer that nobody asked for ends the connection, and the next request has a new one', async () => {
    const sockets: Socket[] = []
    const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
    await listen(
      createServer((socket) => {
        sockets.push(socket.on('error', () => undefined).on('data', () => socket.write(answer)))
      }),
    )
    expect(await ask()).toEqual({ status: 200, body: '' })
    sockets[0]?.write(answer)
    await once(sockets[0] as Socket, 'close')
    expect(await ask()).toEqual({ status: 200, body: '' })
    expect(sockets.length).toBe(2)
  })
})

test('after an answer that it cannot read, the next request has the answer of a new connection', async () => {
  let asked = 0
  await listen(
    createServer((socket: Socket) => {
      socket.on('error', () => undefined)
      socket.on('data', () => {
        const body = asked++ === 0 ? 'content-length: no\r\n\r\n' : 'content-length: 2\r\n\r\nok'
        socket.write(`HTTP/1.1 200 OK\r\n${body}`)
      })
    }),
  )
  expect(await ask()).toEqual({ failure: expect.any(String) })
  expect(await ask()).toEqual({ status: 200, body: '' })
})
