import { connect, type OnReadOpts, type Socket } from 'node:net'
import type { PlainRequest } from './traffic.ts'

/** Told once of a request: its answer, with the body of a refusal and '' for that of others, or what kept it from one. */
export type WireEnd = {
  onAnswer(status: number, body: string): void
  onFailure(reason: string): void
}

/** A connection that carries one request at a time. */
export type Wire = { send(request: PlainRequest, end: WireEnd): void; close(): void }

const readBytes = 16_384
/** Beyond any head or answer of the service that is asked for under load. */
const mostHeadChars = 16_384
const mostAnswerChars = 1_000_000
const headEnd = '\r\n\r\n'
const statusLine = /^HTTP\/1\.1 (\d{3}) /
const lengthHeader = /\r\ncontent-length: *(\d+) *\r\n/i

/** Looks for one answer in what came: `partial` while some of it is to come, `foreign` when it is of no known kind. */
function answerIn(text: string): { status: number; headChars: number } | 'partial' | 'foreign' {
  const headChars = text.indexOf(headEnd) + headEnd.length
  if (headChars < headEnd.length) return text.length > mostHeadChars ? 'foreign' : 'partial'
  const [, status] = statusLine.exec(text) ?? []
  const [, length] = lengthHeader.exec(text.slice(0, headChars)) ?? []
  if (status === undefined || length === undefined) return 'foreign'
  const chars = headChars + Number(length)
  if (text.length > chars || chars > mostAnswerChars) return 'foreign'
  return text.length < chars ? 'partial' : { status: Number(status), headChars }
}

/**
 * Opens a connection of HTTP/1.1, made anew for the next request when it was lost.
 *
 * Only what a load generator meets: answers with a Content-Length, on a connection that stays. Anything else is a
 * failure, which fails the run. A client for all of HTTP took as much CPU for a request as Redis does for a coupon, on
 * the processors that it shares with what it measures (docs/benchmarks.md).
 */
export function openWire(baseUrl: string): Wire {
  const { hostname, port, host } = new URL(baseUrl)
  let socket: Socket | undefined
  let waiting: WireEnd | undefined
  let held = ''

  function fail(reason: string): void {
    socket?.destroy()
    socket = undefined
    held = ''
    const end = waiting
    waiting = undefined
    end?.onFailure(reason)
  }

  function read(text: string): void {
    held += text
    const end = waiting
    const answer = end ? answerIn(held) : 'foreign'
    if (answer === 'partial') return
    if (!end || answer === 'foreign') {
      fail('an answer of another kind, or one too many')
      return
    }
    const body = answer.status < 400 ? '' : held.slice(answer.headChars)
    held = ''
    waiting = undefined
    end.onAnswer(answer.status, body)
  }

  function open(): Socket {
    const onread: OnReadOpts = {
      buffer: Buffer.allocUnsafeSlow(readBytes),
      callback(bytes, buffer) {
        // Latin-1 has a character for each byte, so lengths are those of bytes.
        read((buffer as Buffer).toString('latin1', 0, bytes))
        return true
      },
    }
    const opened = connect({ host: hostname, port: Number(port), noDelay: true, onread })
    const lost = (reason: string) => {
      if (opened === socket) fail(reason)
    }
    opened.on('error', (error: NodeJS.ErrnoException) => lost(error.code ?? error.message))
    opened.on('close', () => lost('the connection was closed'))
    return opened
  }

  return {
    send({ method, path, headers = [], body = '' }, end) {
      waiting = end
      socket ??= open()
      let text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`
      for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`
      if (body !== '') text += `content-length: ${body.length}\r\n`
      socket.write(`${text}\r\n${body}`, 'latin1')
    },
    close() {
      waiting = undefined
      fail('closed')
    },
  }
}
