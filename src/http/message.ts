import { IncomingMessage } from 'node:http'

/** Bodies that are longer are refused. */
export const maxBodyBytes = 64 * 1024

/**
 * A request that is handed on when its body is there, if that is announced and not too long. Node pushes what it reads
 * into the message as into any stream, whose events and turns of the queues (data, end, close) cost a refusal a tenth of
 * all its time (docs/benchmarks.md). Here what is pushed is kept, so the application need not wait for it.
 *
 * A client that goes away in the middle of such a body is never heard of. The server's deadline of a request and its
 * bound on connections hold for those that are slow.
 */
export class WholeMessage extends IncomingMessage {
  /** All of the body; undefined where nothing came, or where `isWhole` is not set. */
  body: Buffer | undefined = undefined
  /** The body is here, and no longer to be read as a stream. */
  isWhole = false
  #handOn: (() => void) | undefined = undefined

  /** Calls back when the body is here; at once if the application has to see to it itself, or there is none. */
  whenReady(handOn: () => void): void {
    const length = this.headers['content-length']
    // With both headers the length counts for nothing (RFC 9112, 6.3).
    const isAnnounced = length !== undefined && this.headers['transfer-encoding'] === undefined
    if (isAnnounced && Number(length) <= maxBodyBytes) this.#handOn = handOn
    else handOn()
  }

  override push(chunk: Buffer | null): boolean {
    const handOn = this.#handOn
    if (!handOn) return super.push(chunk)
    if (chunk) {
      this.body = this.body ? Buffer.concat([this.body, chunk]) : chunk
      return true
    }
    this.isWhole = true
    handOn()
    return false
  }
}

/**
 * Tells Node, and the adapter of Hono, that nothing is left to be read before the next request. Defined here, as the
 * types have it for a field, which a class cannot override by a getter.
 */
Object.defineProperty(WholeMessage.prototype, 'readableEnded', {
  get(this: WholeMessage) {
    return this.isWhole || Reflect.get(IncomingMessage.prototype, 'readableEnded', this)
  },
})
