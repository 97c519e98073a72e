import { ReplyError } from 'ioredis'

/**
 * Replies by which Redis says that it cannot serve now: loading, failing over, read-only, full, or busy; or, of a
 * cluster, that the slot is elsewhere by now, or nowhere.
 */
const cannotServe =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|OOM|MISCONF|NOREPLICAS|BUSY|UNKILLABLE)\b/

/** What the driver says of connections that are lost or not there yet, and of a cluster whose nodes have changed. */
const outOfReach =
  /^(Command timed out|Connection is closed|Stream isn't writeable|CLUSTERDOWN|Cluster isn't ready|Cluster is (ended|disconnect)|None of startup nodes is available|Too many Cluster redirections|All keys in the pipeline should belong to the same slots)/

/** Whether Redis is out of reach or overdue, so that the request is answered 503 and not 500. */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof ReplyError) return cannotServe.test(error.message)
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    error.name === 'AbortError' ||
    error.name === 'ClusterAllFailedError' ||
    outOfReach.test(error.message) ||
    ('code' in error && typeof error.code === 'string' && /^(E[A-Z]+|NR_CLOSED)$/.test(error.code))
  )
}
