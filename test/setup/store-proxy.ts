import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Where a connection through the proxy is cut: on the first bytes of that side that contain the text. */
export interface Cut {
  from: 'client' | 'server'
  /** compared byte by byte */
  text: string
  /** a reset (RST) instead of an orderly end (FIN) */
  reset?: boolean
}

/**
 * A network between a client and Postgres or Redis that loses or forgets connections: at an exact point, or all that are
 * up. The bytes that trigger a cut are not passed on.
 */
export async function openProxy(storeUrl: string) {
  const target = new URL(storeUrl)
  const port = Number(target.port || (target.protocol.startsWith('redis') ? 6379 : 5432))
  const sockets = new Set<Socket>()
  const sent: string[] = []
  let cut: Cut | undefined
  let isSilent = false
  /** connections below this number are silent */
  let silentBelow = 0

  const server = createServer((client) => {
    const number = sent.push('') - 1
    const upstream = connect(port, target.hostname)

    function pass(from: Cut['from'], to: Socket, bytes: Buffer): void {
      const text = bytes.toString('latin1')
      if (from === 'client') sent[number] += text
      if (isSilent || number < silentBelow) return
      if (cut?.from !== from || !text.includes(cut.text)) return void to.write(bytes)
      const { reset } = cut
      cut = undefined
      upstream.destroy()
      if (reset) client.resetAndDestroy()
      else client.destroy()
    }

    client.on('data', (bytes: Buffer) => pass('client', upstream, bytes))
    upstream.on('data', (bytes: Buffer) => pass('server', client, bytes))
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(storeUrl)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)

  return {
    url: url.href,
    /** Has the next matching bytes of any connection cut it, once. */
    cutOn(next: Cut): void {
      cut = next
    },
    /** Passes nothing on any more, in no direction, while connections stay up. */
    fallSilent(): void {
      isSilent = true
    },
    /** The same for the connections that are up now; later ones work. */
    silenceOpen(): void {
      silentBelow = sent.length
    },
    /** Resets all connections that are up. */
    resetOpen(): void {
      for (const socket of sockets) socket.resetAndDestroy()
    },
    /** What clients have sent, by connection. */
    sent: (): readonly string[] => sent,
    /** Connections that are up, counting both sides. */
    open: (): number => sockets.size,
    async close(): Promise<void> {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
