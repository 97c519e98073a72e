import { setTimeout as pause } from 'node:timers/promises'
import { Cluster, type Redis } from 'ioredis'
import type { Logger } from 'pino'
import type { RedisAddress } from './address.ts'

const slotCount = 16_384
/** Times that a command is sent on to another node (MOVED, ASK) or again (TRYAGAIN): none of these was carried out. */
const maxRedirections = 5
/** A node answers TRYAGAIN while the keys of a call are on their way to another, ms. */
const retryDelayOnTryAgain = 100
/**
 * How old the map from slots to nodes may be, ms. A lone command that is told MOVED learns the new place at once; those
 * of a pipeline that was split by a failover do not, and wait for this.
 */
const slotsRefreshInterval = 1000
const betweenLooksMs = 10
/** The least time between two lines of the log about one node, ms. */
const betweenLinesMs = 1000

/**
 * Opens the connections to a cluster: to every node, so that a replica that takes over has one already. As with one
 * server there is no queue, and nothing that was sent is sent again: a call whose node is away fails at once, those of
 * the other nodes go on.
 */
export function openCluster(
  address: RedisAddress,
  scripts: Record<string, { lua: string; numberOfKeys?: number }>,
  settings: { timeoutMs: number; connectionName: string; log: Logger },
): Cluster {
  const { timeoutMs, connectionName, log } = settings
  const { username, password, isTls } = address
  const cluster = new Cluster(address.nodes, {
    scripts,
    enableAutoPipelining: true,
    // As with one server: they are gathered already. Besides, the first argument of a script with a variable number of
    // keys is that number, and would be taken for the key that says where to.
    autoPipeliningIgnoredCommands: [...Object.keys(scripts), 'hmget'],
    enableOfflineQueue: false,
    // A replica may lack what its master has acknowledged.
    scaleReads: 'master',
    clusterRetryStrategy: (times) => Math.min(50 * times, 1000),
    maxRedirections,
    // Zero: not at all. What was under way when a node was lost may have been carried out.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain,
    slotsRefreshInterval,
    slotsRefreshTimeout: timeoutMs,
    // A certificate is of a name: names are left as they are, for the connection to look up.
    ...(isTls
      ? { dnsLookup: (host: string, found: (error: null, address: string) => void) => found(null, host) }
      : {}),
    redisOptions: {
      connectionName,
      commandTimeout: timeoutMs,
      // As with one server: a connection that has fallen silent is replaced.
      socketTimeout: timeoutMs,
      connectTimeout: timeoutMs,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(isTls ? { tls: {} } : {}),
    },
  })
  cluster.on('error', (error: Error) => log.warn({ err: error }, 'redis cluster'))
  const toldAt = new Map<string, number>()
  cluster.on('node error', (error: Error, node: string) => {
    // Each call to a node that is away tries to connect to it.
    if (performance.now() - (toldAt.get(node) ?? -betweenLinesMs) < betweenLinesMs) return
    toldAt.set(node, performance.now())
    log.warn({ err: error, node }, 'redis node')
  })
  cluster.on('+node', (node: Redis) => {
    // The error is told as one of the node.
    if (node.status === 'wait') node.connect().catch(() => undefined)
  })
  cluster.on('refresh', () => {
    // A slot that nobody serves must be an answer of the cluster (CLUSTERDOWN), not a fault in the look for its node.
    for (let slot = 0; slot < slotCount; slot++) cluster.slots[slot] ??= []
  })
  return cluster
}

/** Waits until all nodes that the cluster names are connected. @throws Error after `timeoutMs` */
export async function untilNodesReady(cluster: Cluster, timeoutMs: number): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs
  const isUp = () => {
    const masters = cluster.nodes('master')
    return masters.length > 0 && masters.every(({ status }) => status === 'ready')
  }
  while (!isUp()) {
    if (performance.now() > giveUpAt) throw new Error('Not every master of the Redis Cluster can be reached')
    await pause(betweenLooksMs)
  }
}

/** Asks whether the cluster serves: one master that says so is enough. @throws AggregateError when none does */
export async function askForState(cluster: Cluster): Promise<void> {
  await Promise.any(
    cluster.nodes('master').map(async (master) => {
      const info = String(await master.cluster('INFO'))
      if (!/^cluster_state:ok/m.test(info)) throw new Error('CLUSTERDOWN the cluster does not serve')
    }),
  )
}

/** A master of a cluster as the cluster itself tells it. */
export interface MasterNode {
  host: string
  port: number
}

/**
 * Asks the cluster which masters serve its slots: what this process knows of it may be a second old.
 * @throws Error while a slot is served by nobody
 */
export async function askForMasters(cluster: Cluster): Promise<MasterNode[]> {
  const ranges = await cluster.cluster('SLOTS')
  const served = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0)
  if (served < slotCount) throw new Error(`CLUSTERDOWN ${slotCount - served} slots are served by nobody`)
  const masters = ranges.flatMap(([, , master]) => (master ? [{ host: master[0], port: master[1] }] : []))
  return [...new Map(masters.map((master) => [`${master.host}:${master.port}`, master])).values()]
}
