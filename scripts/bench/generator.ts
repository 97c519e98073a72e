/**
 * The load generator: a process of its own, so that its CPU time is known apart. It is built on undici, which takes
 * less CPU for a request with a body of its own than autocannon (34 against 39 µs on this project's machine, on a bare
 * handler); `loadtest` is lighter still (28 µs), but sends one fixed body to all and reads no answer.
 */
import { createHistogram } from 'node:perf_hooks'
import { Client, type Dispatcher } from 'undici'
import { createRequests, type PlainRequest, type Traffic } from './traffic.ts'

export type Job = {
  baseUrl: string
  traffic: Traffic
  connections: number
  warmUpMs: number
  measureMs: number
  /** requests a second that arrive whatever was answered; without it, each connection sends when it was answered */
  rate?: number | undefined
}

export type Outcome = {
  /** from the first request to the last answer */
  milliseconds: number
  /** answers by status, and by problem code where there is one: `201`, `409 COUPON_SOLD_OUT` */
  answers: Record<string, number>
  /** requests that no answer came to */
  failures: Record<string, number>
  latencyMs: { p50: number; p95: number; p99: number; max: number }
  /** there was nothing left to send before the time was over */
  ranOut: boolean
}

export type ToGenerator = { job: Job } | { go: true }
export type FromGenerator = { warm: true } | { outcome: Outcome }

type Phase = ReturnType<typeof createPhase>

const maxLatencyUs = 120_000_000

function createPhase(endsAt: number) {
  return {
    endsAt,
    startedAt: performance.now(),
    latencyUs: createHistogram({ lowest: 1, highest: maxLatencyUs, figures: 3 }),
    answers: new Map<string, number>(),
    failures: new Map<string, number>(),
    ranOut: false,
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** Reads the code out of a problem without parsing it. */
function codeOf(body: string): string {
  const at = body.indexOf('"code":"')
  return at < 0 ? '' : ` ${body.slice(at + 8, body.indexOf('"', at + 8))}`
}

/** One connection that carries one request at a time; `onDone` is called after each. */
function createWire(client: Client, onDone: (wire: Wire) => void) {
  let phase: Phase
  let dueAt = 0
  let status = 0
  let body = ''
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart: () => undefined,
    onResponseStart(_, statusCode) {
      status = statusCode
      body = ''
    },
    onResponseData(_, chunk) {
      if (status >= 400) body += chunk.toString('latin1')
    },
    onResponseEnd() {
      const us = Math.round((performance.now() - dueAt) * 1000)
      phase.latencyUs.record(Math.min(Math.max(us, 1), maxLatencyUs))
      count(phase.answers, status >= 400 ? status + codeOf(body) : String(status))
      onDone(wire)
    },
    onResponseError(_, error) {
      count(phase.failures, (error as NodeJS.ErrnoException).code ?? error.message)
      onDone(wire)
    },
  }
  const wire = {
    send(to: Phase, request: PlainRequest, due: number) {
      phase = to
      dueAt = due
      client.dispatch(request, handler)
    },
  }
  return wire
}
type Wire = { send(to: Phase, request: PlainRequest, due: number): void }

/** Each connection sends when it was answered, until the time is over. Resolves with the last answer. */
function runClosed(clients: Client[], next: () => PlainRequest | undefined, ms: number): Promise<Phase> {
  const phase = createPhase(performance.now() + ms)
  return new Promise((resolve) => {
    let open = clients.length
    const onDone = (wire: Wire) => {
      const now = performance.now()
      const request = now < phase.endsAt ? next() : undefined
      if (request) return wire.send(phase, request, now)
      phase.ranOut ||= now < phase.endsAt
      if (--open === 0) resolve(phase)
    }
    for (const client of clients) onDone(createWire(client, onDone))
  })
}

/**
 * Requests arrive at a fixed rate, a few every millisecond, and wait here when all connections are busy. Latency counts
 * from the arrival, so a slow answer is not hidden by the requests that it held up.
 */
function runOpen(
  clients: Client[],
  next: () => PlainRequest | undefined,
  ms: number,
  rate: number,
): Promise<Phase> {
  const phase = createPhase(performance.now() + ms)
  const waiting: number[] = []
  let head = 0
  let arrived = 0
  let busy = 0
  return new Promise((resolve) => {
    const free = clients.map((client) => createWire(client, onDone))
    const total = Math.round((rate * ms) / 1000)

    function onDone(wire: Wire) {
      busy--
      free.push(wire)
      pump()
      if (arrived === total && busy === 0) resolve(phase)
    }
    function pump() {
      while (head < waiting.length && free.length > 0) {
        const request = next()
        const wire = request && free.pop()
        if (!wire) {
          phase.ranOut = true
          return
        }
        busy++
        wire.send(phase, request, waiting[head++] as number)
      }
    }
    function tick() {
      const now = performance.now()
      const due = Math.min(total, Math.floor(((now - phase.startedAt) * rate) / 1000))
      for (; arrived < due; arrived++) {
        // To the next millisecond, as a timer has no finer grain: its own is not the service's latency.
        waiting.push(Math.min(now, phase.startedAt + Math.ceil((arrived * 1000) / rate)))
      }
      pump()
      if (arrived < total) setTimeout(tick, 1)
    }
    tick()
  })
}

function outcomeOf({ startedAt, latencyUs, answers, failures, ranOut }: Phase): Outcome {
  const at = (percentile: number) => latencyUs.percentile(percentile) / 1000
  return {
    milliseconds: performance.now() - startedAt,
    answers: Object.fromEntries(answers),
    failures: Object.fromEntries(failures),
    latencyMs: { p50: at(50), p95: at(95), p99: at(99), max: latencyUs.max / 1000 },
    ranOut,
  }
}

async function run({ baseUrl, traffic, connections, warmUpMs, measureMs, rate }: Job): Promise<void> {
  const next = createRequests(traffic)
  const clients = Array.from({ length: connections }, () => new Client(baseUrl))
  const phase = (ms: number) =>
    rate === undefined ? runClosed(clients, next, ms) : runOpen(clients, next, ms, rate)
  await phase(warmUpMs)
  const go = new Promise((resolve) => process.once('message', resolve))
  tell({ warm: true })
  await go
  tell({ outcome: outcomeOf(await phase(measureMs)) })
  await Promise.all(clients.map((client) => client.close()))
}

function tell(message: FromGenerator): void {
  process.send?.(message)
}

process.on('message', (message: ToGenerator) => {
  if ('job' in message) void run(message.job)
})
// Whoever started it may be killed: nothing is left running then.
process.on('disconnect', () => process.exit())
