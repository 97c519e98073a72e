import { isLoginReadable, unreadableLogin } from '../url-login.ts'

/** Where Redis is, as REDIS_URL names it: one server, or nodes of a cluster, of which any one that answers tells the rest. */
export interface RedisAddress {
  nodes: { host: string; port: number }[]
  isCluster: boolean
  username: string | undefined
  password: string | undefined
  isTls: boolean
}

const defaultPort = 6379

/** A comma is a separator where a URL follows: passwords may hold commas. */
function urlsOf(text: string): string[] {
  return text.split(/\s*,\s*(?=[a-z]+:\/\/)/i)
}

/** What is wrong with a REDIS_URL, a sentence a fault and never a value; empty when it is in order. */
export function faultsOfRedisUrl(text: string): string[] {
  const parts = urlsOf(text)
  const starts = `start${parts.length > 1 ? '' : 's'} with redis:// or rediss://`
  const isKnown = (part: string) => URL.canParse(part) && /^rediss?:$/.test(new URL(part).protocol)
  if (!parts.every(isKnown)) {
    return [
      parts.length > 1 ? `must be URLs that ${starts}, with commas between` : `must be a URL that ${starts}`,
    ]
  }
  const urls = parts.map((part) => new URL(part))
  const faults: string[] = []
  if (urls.some(({ hostname }) => hostname === '' || hostname.includes(','))) {
    faults.push('must name a host in each URL, and have a URL for each node of a cluster')
  }
  if (!urls.every(isLoginReadable)) faults.push(unreadableLogin)
  if (urls.length === 1) return faults
  const differ = (of: (url: URL) => string) => new Set(urls.map(of)).size > 1
  if (differ(({ protocol }) => protocol)) faults.push('must have redis:// for all nodes or rediss:// for all')
  const given = urls.map(({ username, password }) => `${username}:${password}`).filter((each) => each !== ':')
  if (new Set(given).size > 1) faults.push('must have the same user and password for all nodes')
  if (urls.some(({ pathname }) => !/^\/?0?$/.test(pathname))) {
    faults.push('must not name a database: a cluster has only the first')
  }
  if (urls.some(({ search, hash }) => search !== '' || hash !== '')) faults.push('must not have a query')
  return faults
}

/** Reads a REDIS_URL that has no faults. User and password may stand in one URL of a list: they hold for all nodes. */
export function readRedisUrl(text: string): RedisAddress {
  const urls = urlsOf(text).map((part) => new URL(part))
  const login = urls.find(({ username, password }) => username !== '' || password !== '')
  return {
    nodes: urls.map(({ hostname, port }) => ({
      // A URL has IPv6 addresses in brackets.
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(port || defaultPort),
    })),
    isCluster: urls.length > 1,
    username: decodeURIComponent(login?.username ?? '') || undefined,
    password: decodeURIComponent(login?.password ?? '') || undefined,
    isTls: urls[0]?.protocol === 'rediss:',
  }
}
