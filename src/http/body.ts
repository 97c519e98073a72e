import type { Context } from 'hono'
import { refuse } from '../errors.ts'
import { type HttpEnv, headerOf } from './frame.ts'
import { invalid, problem } from './problem.ts'

const maxBodyBytes = 64 * 1024
/** Takes a byte order mark away, and puts nothing in the place of bytes that are no UTF-8. */
const utf8 = new TextDecoder('utf-8', { fatal: true })
const json = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i

/**
 * Refuses a write by its headers alone: a body that announces more than 64 KiB, or that is not UTF-8 JSON. Where there
 * is no body its type does not matter: many clients always send one.
 */
export function refuseBody(c: Context<HttpEnv>): Response | undefined {
  const length = headerOf(c, 'content-length')
  if (length !== undefined && Number(length) > maxBodyBytes) return tooLarge(c)
  const type = headerOf(c, 'content-type')
  if (type !== undefined && json.test(type)) return undefined
  if (!hasBody(c)) return undefined
  return problem(c, refuse('UNSUPPORTED_MEDIA_TYPE', 'Send application/json in UTF-8.'))
}

/**
 * Reads the body of a write that `refuseBody` let pass. Nothing reads as `{}`: the schema says what is missing. Not async:
 * a promise within a promise would cost each write two turns through the queue of microtasks.
 */
export function readJson(c: Context<HttpEnv>): Promise<Read> {
  return isAnnounced(c) ? readAnnounced(c) : readUpToLimit(c).then((text) => parse(c, text))
}

type Read = { value: unknown } | Response

function parse(c: Context<HttpEnv>, text: string | Response): Read {
  if (typeof text !== 'string') return text
  if (text === '') return { value: {} }
  try {
    return { value: JSON.parse(text) }
  } catch {
    return invalid(c, [{ path: '', message: 'The body is not valid JSON' }])
  }
}

/** The server holds a client to the length that it announced, so the body need not be counted. */
function isAnnounced(c: Context<HttpEnv>): boolean {
  return headerOf(c, 'content-length') !== undefined && headerOf(c, 'transfer-encoding') === undefined
}

/** Reads a body of announced length. From the server's own message, where there is one, it is cheap. */
function readAnnounced(c: Context<HttpEnv>): Promise<Read> {
  const { incoming } = c.env
  if (!incoming) return c.req.raw.arrayBuffer().then((bytes) => parse(c, decode(c, bytes)))
  return new Promise((resolve) => {
    let body: Buffer | undefined
    let hasEnded = false
    // Every message is closed in the end, and a refusal made for those that had ended cost each write 1.5 µs.
    const breakOff = () => {
      if (!hasEnded) resolve(brokenOff(c))
    }
    // It may have gone while its token was looked at; nothing is told of that any more.
    if (incoming.destroyed) return breakOff()
    incoming.on('data', (chunk: Buffer) => {
      body = body ? Buffer.concat([body, chunk]) : chunk
    })
    incoming.on('end', () => {
      hasEnded = true
      resolve(parse(c, body ? decode(c, body) : ''))
    })
    incoming.on('error', breakOff)
    incoming.on('close', breakOff)
  })
}

/** By the headers, which say it for every message of HTTP/1.1; a call in memory has the body itself to look at. */
function hasBody(c: Context<HttpEnv>): boolean {
  const length = headerOf(c, 'content-length')
  if (length !== undefined) return Number(length) > 0
  const isInMemory = c.env.incoming === undefined
  return headerOf(c, 'transfer-encoding') !== undefined || (isInMemory && c.req.raw.body !== null)
}

/** The text of a body of unknown length, or the refusal; of one that is too long the rest is not read. */
async function readUpToLimit(c: Context<HttpEnv>): Promise<string | Response> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of c.req.raw.body ?? []) {
      bytes += chunk.length
      if (bytes > maxBodyBytes) return tooLarge(c)
      chunks.push(chunk)
    }
  } catch {
    // Only the client's side of the stream can fail.
    return brokenOff(c)
  }
  return decode(c, Buffer.concat(chunks))
}

function decode(c: Context<HttpEnv>, bytes: ArrayBuffer | Uint8Array): string | Response {
  try {
    return utf8.decode(bytes)
  } catch {
    return invalid(c, [{ path: '', message: 'The body is not valid UTF-8' }])
  }
}

/** Nobody is there to read this; it keeps what came of the body from being taken for all of it. */
function brokenOff(c: Context<HttpEnv>): Response {
  return invalid(c, [{ path: '', message: 'The body ended early' }])
}

function tooLarge(c: Context<HttpEnv>): Response {
  const refusal = refuse('BODY_TOO_LARGE', `At most ${maxBodyBytes} bytes are taken.`)
  return problem(c, refusal, { Connection: 'close' })
}
