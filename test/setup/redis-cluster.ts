import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { pickPort } from '../../scripts/embedded/port.ts'
import { until } from './harness.ts'
import { type PrivateStore, startPrivateRedis } from './private-stores.ts'

const masterCount = 3
const settledWithinMs = 30_000
/** A master that is silent for this long is taken for dead, ms. */
const nodeTimeoutMs = 1000

interface Node {
  port: number
  busPort: number
  store: PrivateStore
  /** a plain connection, for asking and telling the node itself */
  redis: Redis
  id: string
}

export type RedisCluster = Awaited<ReturnType<typeof startRedisCluster>>

/** Starts a Redis Cluster of the test's own on loopback ports: three masters, each with a replica. */
export async function startRedisCluster() {
  const password = randomBytes(12).toString('hex')
  const nodes = await startNodes(password)
  const [first] = nodes as [Node, ...Node[]]

  /** Runs `work` on the nodes that answer, and gives what it gave. */
  async function eachLiving<Result>(work: (node: Node) => Promise<Result>): Promise<Result[]> {
    const results = await Promise.allSettled(nodes.map(work))
    return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  }

  /** The node that serves a key as all that live see it, or undefined while they do not agree. */
  async function masterOf(key: string): Promise<Node | undefined> {
    const views = await eachLiving(async ({ redis }) => {
      const slot = await redis.cluster('KEYSLOT', key)
      const ranges = await redis.cluster('SLOTS')
      const range = ranges.find(([from, to]) => from <= slot && slot <= to)
      const isOk = /^cluster_state:ok/m.test(String(await redis.cluster('INFO')))
      return isOk ? range?.[2]?.[1] : undefined
    })
    const [port] = views
    return views.every((view) => view === port) ? nodes.find((node) => node.port === port) : undefined
  }

  /** Whether every node is there, and each replica follows its master. */
  async function isWhole(): Promise<boolean> {
    const states = await eachLiving(async ({ redis }) => {
      const [state, role] = await Promise.all([redis.cluster('INFO'), redis.info('replication')])
      const isOk = /^cluster_state:ok/m.test(String(state)) && /^cluster_known_nodes:6\r/m.test(String(state))
      const follows = /^role:slave/m.test(role) && /^master_link_status:up/m.test(role)
      return { isOk, master: /^role:master/m.test(role), follows }
    })
    const replicas = states.filter(({ follows }) => follows)
    return states.filter(({ isOk }) => isOk).length === nodes.length && replicas.length === masterCount
  }

  const remove = async () => {
    for (const { redis } of nodes) redis.disconnect()
    await Promise.all(nodes.map(({ store }) => store.remove()))
  }
  try {
    await join(nodes)
    await until('the cluster to be whole', isWhole, settledWithinMs)
  } catch (error) {
    await remove()
    throw error
  }

  return {
    url: [
      first.store.url,
      ...nodes.slice(1, masterCount).map(({ port }) => `redis://127.0.0.1:${port}`),
    ].join(),
    /**
     * Cuts the replica of the master that serves a key off from it, so that it falls behind: what the master takes from
     * here on is lost when that replica takes over.
     */
    async cutReplicaOf(key: string) {
      const master = await until('a master of the key', () => masterOf(key), settledWithinMs)
      const lines = (await master.redis.call('CLUSTER', 'REPLICAS', master.id)) as string[]
      for (const replica of nodes.filter(({ id }) => lines.some((line) => line.startsWith(id)))) {
        await replica.redis.config('SET', 'masterauth', 'not the password')
        await until(
          'the replica to be cut off',
          async () => {
            await master.redis.call('CLIENT', 'KILL', 'TYPE', 'replica')
            return /^master_link_status:down/m.test(await replica.redis.info('replication'))
          },
          settledWithinMs,
        )
      }
    },
    /**
     * Kills the master that serves a key, as a crash would. Gives the functions that wait until its replica has taken
     * over, and that start it again and wait until it follows its successor.
     */
    async killMasterOf(key: string) {
      const dead = await until('a master of the key', () => masterOf(key), settledWithinMs)
      await dead.store.kill()
      return {
        async promoted() {
          await until(
            'a replica to take over',
            async () => {
              const master = await masterOf(key)
              return master !== undefined && master !== dead
            },
            settledWithinMs,
          )
        },
        async revive() {
          await eachLiving(({ redis }) => redis.config('SET', 'masterauth', password))
          await dead.store.restart()
          await until('the cluster to be whole again', isWhole, settledWithinMs)
        },
      }
    },
    /** Moves the slot of a key, with all keys in it, to another master, as a resharding does. */
    async moveSlotOf(key: string) {
      const from = await until('a master of the key', () => masterOf(key), settledWithinMs)
      const masters = await eachLiving(async (node) => {
        const [role] = (await node.redis.role()) as [string]
        return role === 'master' && node !== from ? [node] : []
      })
      const [to] = masters.flat() as [Node, ...Node[]]
      const slot = await from.redis.cluster('KEYSLOT', key)
      const tell = ({ redis }: Node, state: string, { id }: Node) =>
        redis.call('CLUSTER', 'SETSLOT', slot, state, id)
      await tell(to, 'IMPORTING', from)
      await tell(from, 'MIGRATING', to)
      for (;;) {
        const batch = await from.redis.cluster('GETKEYSINSLOT', slot, 50)
        if (batch.length === 0) break
        const where = ['127.0.0.1', to.port, '', 0, 5000, 'AUTH', password, 'KEYS', ...batch]
        await from.redis.call('MIGRATE', ...where)
      }
      await tell(to, 'NODE', to)
      await tell(from, 'NODE', to)
      await until('all to know the new place', async () => (await masterOf(key)) === to, settledWithinMs)
    },
    /** Makes every node empty. */
    async flush() {
      await eachLiving(({ redis }) => redis.flushall().catch(() => undefined))
    },
    remove,
  }
}

async function startNodes(password: string): Promise<Node[]> {
  const ports = new Set<number>()
  while (ports.size < 4 * masterCount) ports.add(await pickPort())
  const [...all] = ports
  return Promise.all(
    Array.from({ length: 2 * masterCount }, async (_, index) => {
      const busPort = all[index] as number
      const store = await startPrivateRedis({
        password,
        appendonly: false,
        settings: {
          masterauth: password,
          'cluster-enabled': 'yes',
          // By default ten thousand above the other, where outgoing connections have their ports.
          'cluster-port': String(busPort),
          'cluster-node-timeout': String(nodeTimeoutMs),
          // A replica takes over however long it has not heard from its master.
          'cluster-replica-validity-factor': '0',
          'repl-diskless-sync-delay': '0',
        },
      })
      const redis = new Redis(store.url, {
        enableOfflineQueue: false,
        commandTimeout: 2000,
        maxRetriesPerRequest: 0,
        retryStrategy: () => 50,
      })
      // A node that is killed is no fault here.
      redis.on('error', () => undefined)
      await until('the connection to a node', async () => redis.status === 'ready')
      const id = String(await redis.cluster('MYID'))
      return { port: Number(new URL(store.url).port), busPort, store, redis, id }
    }),
  )
}

/** Makes a cluster of nodes that do not know each other: the first half are masters, the others their replicas. */
async function join(nodes: Node[]): Promise<void> {
  const [first] = nodes as [Node, ...Node[]]
  const slotsEach = Math.ceil(16_384 / masterCount)
  for (const [index, { redis }] of nodes.entries()) {
    // Each with an epoch of its own, which they would otherwise have to settle among themselves.
    await redis.cluster('SET-CONFIG-EPOCH', index + 1)
    if (index >= masterCount) continue
    await redis.cluster('ADDSLOTSRANGE', index * slotsEach, Math.min(16_384, (index + 1) * slotsEach) - 1)
  }
  for (const { port, busPort } of nodes.slice(1)) {
    await first.redis.call('CLUSTER', 'MEET', '127.0.0.1', String(port), String(busPort))
  }
  for (const [index, { redis }] of nodes.slice(masterCount).entries()) {
    const master = nodes[index] as Node
    await until(
      'a replica to know its master',
      () =>
        redis.cluster('REPLICATE', master.id).then(
          () => true,
          () => false,
        ),
      settledWithinMs,
    )
  }
}
