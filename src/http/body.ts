import type { Context } from 'hono'
import { refuse } from '../errors.ts'
import { type HttpEnv, headerOf } from './frame.ts'
import { maxBodyBytes } from './message.ts'
import { invalid, problem } from './problem.ts'

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

/** Reads the body of a write that `refuseBody` let pass. Nothing reads as `{}`: the schema says what is missing. */
export function readJson(c: Context<HttpEnv>): Read | Promise<Read> {
  const { incoming } = c.env
  if (incoming?.isWhole) return parse(c, incoming.body)
  return readUpToLimit(c).then((body) => (body instanceof Response ? body : parse(c, body)))
}

export type Read = { value: unknown } | Response

function parse(c: Context<HttpEnv>, body: Buffer | undefined): Read {
  if (!body || body.length === 0) return { value: {} }
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    return invalid(c, [{ path: '', message: 'The body is not valid UTF-8' }])
  }
  try {
    return { value: JSON.parse(text) }
  } catch {
    return invalid(c, [{ path: '', message: 'The body is not valid JSON' }])
  }
}

/** By the headers, which say it for every message of HTTP/1.1; a call in memory has the body itself to look at. */
function hasBody(c: Context<HttpEnv>): boolean {
  const length = headerOf(c, 'content-length')
  if (length !== undefined) return Number(length) > 0
  const isInMemory = c.env.incoming === undefined
  return headerOf(c, 'transfer-encoding') !== undefined || (isInMemory && c.req.raw.body !== null)
}

/** The body where it is a stream: in chunks, or in memory. Or the refusal; of one that is too long the rest is not read. */
async function readUpToLimit(c: Context<HttpEnv>): Promise<Buffer | Response> {
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
  return Buffer.concat(chunks)
}

/** Nobody is there to read this; it keeps what came of the body from being taken for all of it. */
function brokenOff(c: Context<HttpEnv>): Response {
  return invalid(c, [{ path: '', message: 'The body ended early' }])
}

function tooLarge(c: Context<HttpEnv>): Response {
  const refusal = refuse('BODY_TOO_LARGE', `At most ${maxBodyBytes} bytes are taken.`)
  return problem(c, refusal, { Connection: 'close' })
}
