import type { ClaimedEvent } from './outbox.sql.ts'

/** Of an answer's body so much is read, so that the connection can be used again; what it says does not matter. */
const maxAnswerBytes = 64 * 1024
/** Answers that judge what was sent. Any other that is no 2xx tells of the platform, or of the way to it. */
const judgements = new Set([400, 409, 413, 422])

export type Delivery =
  | { delivered: true }
  /**
   * `refused`: the platform is there and does not want these events. `away`: it was not reached, did not answer in
   * time, or is in no state to judge. `reason` is short and holds nothing secret.
   */
  | { delivered: false; fault: 'refused' | 'away'; reason: string }

export interface Platform {
  /** Posts events in one request. Never rejects. `cut` gives it up before its deadline. */
  post(events: ClaimedEvent[], cut: AbortSignal): Promise<Delivery>
}

/**
 * The data platform at a URL. A user and password in the URL go as Basic authentication.
 * @param options.timeoutMs deadline of a post, its answer included
 */
export function createPlatform(options: { url: string; timeoutMs: number }): Platform {
  const { timeoutMs } = options
  const url = new URL(options.url)
  const headers: Record<string, string> = { 'Content-Type': 'application/json', 'User-Agent': 'seonchak' }
  if (url.username !== '' || url.password !== '') {
    const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
    headers.Authorization = `Basic ${Buffer.from(credentials).toString('base64')}`
    url.username = ''
    url.password = ''
  }

  return {
    async post(events, cut) {
      const deadline = AbortSignal.timeout(timeoutMs)
      try {
        const response = await fetch(url, {
          method: 'POST',
          headers,
          body: bodyOf(events),
          // Where it leads to is nobody's promise to keep the events.
          redirect: 'manual',
          signal: AbortSignal.any([deadline, cut]),
        })
        // The status is the promise; an answer that breaks off behind it does not take it back.
        await discard(response).catch(() => undefined)
        if (response.ok) return { delivered: true }
        const fault = judgements.has(response.status) ? 'refused' : 'away'
        return { delivered: false, fault, reason: `answered ${response.status}` }
      } catch (error) {
        const reason = deadline.aborted ? `no answer within ${timeoutMs} ms` : `no answer: ${codeOf(error)}`
        return { delivered: false, fault: 'away', reason }
      }
    },
  }
}

/** `{events: [{eventId, type, occurredAt, order}]}`; an order is JSON already, and goes as it was stored. */
function bodyOf(events: ClaimedEvent[]): string {
  const parts = events.map(({ eventId, type, occurredAt, payload }) => {
    const head = JSON.stringify({ eventId, type, occurredAt })
    return `${head.slice(0, -1)},"order":${payload}}`
  })
  return `{"events":[${parts.join()}]}`
}

async function discard(response: Response): Promise<void> {
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > maxAnswerBytes) break
  }
}

/** A code such as ECONNREFUSED or UND_ERR_SOCKET. Messages are left out: they may quote the URL. */
function codeOf(error: unknown): string {
  for (let each = error; each instanceof Error; each = each.cause) {
    if ('code' in each && typeof each.code === 'string') return each.code
  }
  return error instanceof Error ? error.name : 'unknown'
}
