import type { Context } from 'hono'
import { refuse } from '../errors.ts'
import { type HttpEnv, headerOf } from './frame.ts'
import { invalid, problem } from './problem.ts'

const maxBodyBytes = 64 * 1024
/** Takes a byte order mark away. */
const utf8 = new TextDecoder()
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
export async function readJson(c: Context<HttpEnv>): Promise<{ value: unknown } | Response> {
  const hasLength = isAnnounced(c)
  const text = hasLength ? await textOf(c) : await readUpToLimit(c.req.raw.body)
  if (text === undefined) return hasLength ? brokenOff(c) : tooLarge(c)
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

/**
 * The text of a body of announced length, or undefined when the client went away before its end. From the server's own
 * message, where there is one, it is cheap.
 */
function textOf({ env, req }: Context<HttpEnv>): Promise<string | undefined> {
  const { incoming } = env
  if (!incoming) return req.raw.text()
  return new Promise((resolve) => {
    let body: Buffer | undefined
    const breakOff = () => resolve(undefined)
    // It may have gone while its token was looked at; nothing is told of that any more.
    if (incoming.destroyed) return breakOff()
    incoming.on('data', (chunk: Buffer) => {
      body = body ? Buffer.concat([body, chunk]) : chunk
    })
    incoming.on('end', () => resolve(body ? utf8.decode(body) : ''))
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

/** The text of a body of unknown length, or undefined when it is too long; then the rest is not read. */
async function readUpToLimit(body: ReadableStream<Uint8Array> | null): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body ?? []) {
    bytes += chunk.length
    if (bytes > maxBodyBytes) return undefined
    chunks.push(chunk)
  }
  return utf8.decode(Buffer.concat(chunks))
}

/** Nobody is there to read this; it keeps what came of the body from being taken for all of it. */
function brokenOff(c: Context<HttpEnv>): Response {
  return invalid(c, [{ path: '', message: 'The body ended early' }])
}

function tooLarge(c: Context<HttpEnv>): Response {
  const refusal = refuse('BODY_TOO_LARGE', `At most ${maxBodyBytes} bytes are taken.`)
  return problem(c, refusal, { Connection: 'close' })
}
