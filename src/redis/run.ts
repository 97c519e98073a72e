import { Cluster, type Redis } from 'ioredis'
import type { RedisClient } from './client.ts'
import { askForMasters } from './cluster.ts'

/**
 * What stands for the data that Redis has. Of one server it is its run id, which changes with every start. Of a cluster
 * it is those of all masters, each with its epoch: a replica that takes over has another run id and raises the epoch,
 * and may lack what its master had acknowledged.
 * @throws Error when a node cannot be asked, or is on its way from one role to the other
 */
export async function readRunIds(redis: RedisClient): Promise<string> {
  if (!(redis instanceof Cluster)) {
    const info = await redis.info('server')
    if (/^redis_mode:cluster/m.test(info)) {
      throw new Error('This Redis is a node of a cluster: REDIS_URL must name several of its nodes')
    }
    return memberOf(info, 'run_id')
  }
  const nodes = redis.nodes('all')
  const ids = (await askForMasters(redis)).map(({ host, port }) => {
    const node = nodes.find(({ options }) => options.host === host && options.port === port)
    if (node === undefined) throw new Error('A master of the Redis Cluster is not known here yet')
    return identify(node)
  })
  return (await Promise.all(ids)).sort().join()
}

async function identify(master: Redis): Promise<string> {
  const [server, replication, cluster] = await Promise.all([
    master.info('server'),
    master.info('replication'),
    master.cluster('INFO'),
  ])
  if (memberOf(replication, 'role') !== 'master')
    throw new Error('A master of the Redis Cluster is a replica')
  return `${memberOf(server, 'run_id')}@${memberOf(String(cluster), 'cluster_my_epoch')}`
}

function memberOf(info: string, name: string): string {
  const value = new RegExp(`^${name}:(\\w+)`, 'm').exec(info)?.[1]
  if (value === undefined) throw new Error(`Redis did not tell its ${name}`)
  return value
}
