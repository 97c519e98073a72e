import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A network between a client and Redis that forgets connections, as a firewall may: they stay, and carry nothing. */
export async function openRedisProxy(redisUrl: string) {
  const target = new URL(redisUrl)
  const connections: { sockets: Socket[]; isSilent: boolean }[] = []
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    const connection = { sockets: [client, upstream], isSilent: false }
    connections.push(connection)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('data', (bytes: Buffer) => connection.isSilent || to.write(bytes))
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(redisUrl)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)

  return {
    url: url.href,
    /** Nothing passes any more over the connections that there are; new ones are served. */
    silence(): void {
      for (const connection of connections) connection.isSilent = true
    },
    /** How many connections there have been. */
    opened: (): number => connections.length,
    async close(): Promise<void> {
      for (const { sockets } of connections) for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
