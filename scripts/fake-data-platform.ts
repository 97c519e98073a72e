/**
 * `node scripts/fake-data-platform.ts`: stands in for the data platform (ORD-7), which is outside of this application.
 * It keeps what it gets in memory, shows it, counts repetitions, and fails on request. PORT (default 4000) and HOST.
 */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { createAdaptorServer, type HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { z } from 'zod'
import { plainMessage } from './embedded/setup-error.ts'
import { createEventStore, type ReceivedEvent, type StoreStats } from './fake-data-platform/event-store.ts'

const MAX_BODY_BYTES = 32 * 1024 * 1024
const MAX_PAGE = 1000

const batchSchema = z.object({
  events: z
    .array(
      z.object({
        eventId: z.uuid(),
        type: z.string().min(1),
        occurredAt: z.iso.datetime(),
        order: z.looseObject({ id: z.uuid() }),
      }),
    )
    .min(1)
    .max(10_000),
})

const behaviourSchema = z.strictObject({
  /** `error` answers `status`; `stall` never answers; `drop` cuts the connection */
  mode: z.enum(['ok', 'error', 'stall', 'drop']),
  status: z.int().min(400).max(599).default(500),
  /** only posts that hold an event of one of these orders; the others are taken */
  orderIds: z.array(z.uuid()).optional(),
  /** keeps the events and fails only then, as when an answer is lost on its way */
  keep: z.boolean().default(false),
  /** takes so long over every post, ms */
  delayMs: z.int().min(0).max(60_000).default(0),
})

/** How the platform treats posts from now on. */
export type Behaviour = z.output<typeof behaviourSchema>
export type Stats = StoreStats & { failed: number; behaviour: Behaviour }

export type FakeDataPlatform = {
  /** of the program, without a slash at the end */
  url: string
  /** what DATA_PLATFORM_URL is to be */
  eventsUrl: string
  behave(behaviour: z.input<typeof behaviourSchema>): void
  stats(): Stats
  /** All events, each once, in the order in which they first came. */
  events(): ReceivedEvent[]
  stop(): Promise<void>
}

type Env = { Bindings: HttpBindings }

/**
 * Starts the fake platform in this process.
 * @param options.port 0 picks a free one
 * @throws what listening failed for, such as EADDRINUSE
 */
export async function startFakeDataPlatform(
  options: { port?: number; host?: string } = {},
): Promise<FakeDataPlatform> {
  const { port = 0, host = '127.0.0.1' } = options
  const store = createEventStore()
  let behaviour: Behaviour = behaviourSchema.parse({ mode: 'ok' })
  let failed = 0
  const stats = (): Stats => ({ ...store.stats(), failed, behaviour })

  const app = new Hono<Env>()
  app.post('/events', bodyLimit({ maxSize: MAX_BODY_BYTES }), async (c) => {
    const batch = batchSchema.safeParse(await c.req.json().catch(() => undefined))
    if (!batch.success) return c.json({ error: z.prettifyError(batch.error) }, 400)
    const { events } = batch.data
    const { mode, status, orderIds, keep, delayMs } = behaviour
    if (delayMs > 0) await delay(delayMs)
    const isMeant = orderIds === undefined || events.some(({ order }) => orderIds.includes(order.id))
    if (mode === 'ok' || !isMeant) {
      store.add(events)
      return c.json({ accepted: events.length })
    }
    failed++
    if (keep) store.add(events)
    if (mode === 'error') return c.json({ error: 'as told' }, status as 500)
    return mode === 'stall' ? untilGone(c) : drop(c)
  })
  app.get('/events', (c) => {
    const query = z
      .object({
        after: z.coerce.number().int().min(0).default(0),
        limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(100),
        orderId: z.uuid().optional(),
      })
      .safeParse(c.req.query())
    if (!query.success) return c.json({ error: z.prettifyError(query.error) }, 400)
    const { after, limit, orderId } = query.data
    const items = store.list(after, limit, orderId)
    const next = items.length === limit ? (items.at(-1)?.sequence ?? null) : null
    return c.json({ items, nextAfter: next })
  })
  app.delete('/events', (c) => {
    store.clear()
    failed = 0
    return c.json(stats())
  })
  app.get('/stats', (c) => c.json(stats()))
  app.post('/behaviour', async (c) => {
    const wanted = behaviourSchema.safeParse(await c.req.json().catch(() => undefined))
    if (!wanted.success) return c.json({ error: z.prettifyError(wanted.error) }, 400)
    behaviour = wanted.data
    return c.json(behaviour)
  })
  app.get('/readyz', (c) => c.json({ status: 'ready' }))
  app.get('/', (c) =>
    c.json({
      'POST /events': '{events: [{eventId, type, occurredAt, order}]}',
      'GET /events': '?after=SEQUENCE&limit=N&orderId=ID',
      'DELETE /events': 'forgets all',
      'GET /stats': 'received, distinct, duplicates, violations of the order per order, failed posts',
      'POST /behaviour': "{mode: 'ok' | 'error' | 'stall' | 'drop', status?, orderIds?, keep?, delayMs?}",
    }),
  )

  const server = createAdaptorServer({ fetch: app.fetch }) as Server
  server.listen(port, host)
  await once(server, 'listening')
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`
  return {
    url,
    eventsUrl: `${url}/events`,
    behave(wanted) {
      behaviour = behaviourSchema.parse(wanted)
    },
    stats,
    events: () => store.list(0, Number.MAX_SAFE_INTEGER),
    async stop() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** Never answers; ends with the connection, which the sender gives up some time. */
async function untilGone(c: Context<Env>): Promise<Response> {
  const { socket } = c.env.incoming
  if (!socket.destroyed) await once(socket, 'close')
  return RESPONSE_ALREADY_SENT
}

function drop(c: Context<Env>): Response {
  c.env.incoming.socket.destroy()
  return RESPONSE_ALREADY_SENT
}

async function main(): Promise<void> {
  const { PORT = '4000', HOST = '127.0.0.1' } = process.env
  const port = Number(PORT)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`PORT is not a port: ${PORT}`)
  const platform = await startFakeDataPlatform({ port, host: HOST })
  console.log(`fake data platform: ${platform.url}  (DATA_PLATFORM_URL=${platform.eventsUrl})`)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0))
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    console.error(`fake data platform: ${plainMessage(error)}`)
    process.exit(1)
  })
}
