/**
 * The load generator: a process of its own, so that its CPU time is known apart. It makes each request new, tells answers
 * apart by their problem code, and counts latency from the arrival where requests arrive at a rate of their own.
 */
import { createHistogram } from 'node:perf_hooks'
import { createRequests, type PlainRequest, type Traffic } from './traffic.ts'
import { openWire, type Wire, type WireEnd } from './wire.ts'

export type Job = {
  baseUrl: string
  traffic: Traffic
  connections: number
  warmUpMs: number
  measureMs: number
  /** requests a second that arrive whatever was answered; without it, each connection sends when it was answered */
  rate?: number | undefined
}

/** What became of the requests of a phase. */
export type Ends = {
  /** answers by status, and by problem code where there is one: `201`, `409 COUPON_SOLD_OUT` */
  answers: Record<string, number>
  /** requests that no answer came to */
  failures: Record<string, number>
  /** there was nothing left to send before the time was over */
  ranOut: boolean
}

export type Outcome = Ends & {
  /** from the first request to the last answer */
  milliseconds: number
  latencyMs: { p50: number; p95: number; p99: number; max: number }
  warmUp: Ends
}

export type ToGenerator = { job: Job } | { go: true }
export type FromGenerator = { warm: true } | { outcome: Outcome }

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

type Phase = ReturnType<typeof createPhase>

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** Reads the code out of a problem without parsing it. */
function codeOf(body: string): string {
  const at = body.indexOf('"code":"')
  return at < 0 ? '' : ` ${body.slice(at + 8, body.indexOf('"', at + 8))}`
}

/** Sends on a wire and counts what becomes of each request; `onDone` is called after each. */
type Sender = { send(to: Phase, request: PlainRequest, due: number): void }

function createSender(wire: Wire, onDone: (sender: Sender) => void): Sender {
  let phase: Phase
  let dueAt = 0
  const end: WireEnd = {
    onAnswer(status, body) {
      const us = Math.round((performance.now() - dueAt) * 1000)
      phase.latencyUs.record(Math.min(Math.max(us, 1), maxLatencyUs))
      count(phase.answers, status >= 400 ? status + codeOf(body) : String(status))
      onDone(sender)
    },
    onFailure(reason) {
      count(phase.failures, reason)
      onDone(sender)
    },
  }
  const sender: Sender = {
    send(to, request, due) {
      phase = to
      dueAt = due
      wire.send(request, end)
    },
  }
  return sender
}

/** Each connection sends when it was answered, until the time is over. Resolves with the last answer. */
function runClosed(wires: Wire[], next: () => PlainRequest | undefined, ms: number): Promise<Phase> {
  const phase = createPhase(performance.now() + ms)
  return new Promise((resolve) => {
    let open = wires.length
    const onDone = (sender: Sender) => {
      const now = performance.now()
      const request = now < phase.endsAt ? next() : undefined
      if (request) return sender.send(phase, request, now)
      phase.ranOut ||= now < phase.endsAt
      if (--open === 0) resolve(phase)
    }
    for (const wire of wires) onDone(createSender(wire, onDone))
  })
}

/**
 * Requests arrive at a fixed rate, a few every millisecond, and wait here when all connections are busy. Latency counts
 * from the arrival, so a slow answer is not hidden by the requests that it held up.
 */
function runOpen(
  wires: Wire[],
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
    const free = wires.map((wire) => createSender(wire, onDone))
    const total = Math.round((rate * ms) / 1000)

    function onDone(sender: Sender) {
      busy--
      free.push(sender)
      pump()
      if (arrived === total && busy === 0) resolve(phase)
    }
    function pump() {
      while (head < waiting.length && free.length > 0) {
        const request = next()
        const sender = request && free.pop()
        if (!sender) {
          phase.ranOut = true
          return
        }
        busy++
        sender.send(phase, request, waiting[head++] as number)
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

function endsOf({ answers, failures, ranOut }: Phase): Ends {
  return { answers: Object.fromEntries(answers), failures: Object.fromEntries(failures), ranOut }
}

function outcomeOf(phase: Phase, warmUp: Phase): Outcome {
  const { startedAt, latencyUs } = phase
  const at = (percentile: number) => latencyUs.percentile(percentile) / 1000
  return {
    ...endsOf(phase),
    milliseconds: performance.now() - startedAt,
    latencyMs: { p50: at(50), p95: at(95), p99: at(99), max: latencyUs.max / 1000 },
    warmUp: endsOf(warmUp),
  }
}

async function run({ baseUrl, traffic, connections, warmUpMs, measureMs, rate }: Job): Promise<void> {
  const next = createRequests(traffic)
  const wires = Array.from({ length: connections }, () => openWire(baseUrl))
  const phase = (ms: number) =>
    rate === undefined ? runClosed(wires, next, ms) : runOpen(wires, next, ms, rate)
  const warmUp = await phase(warmUpMs)
  const go = new Promise((resolve) => process.once('message', resolve))
  tell({ warm: true })
  await go
  tell({ outcome: outcomeOf(await phase(measureMs), warmUp) })
  for (const wire of wires) wire.close()
}

function tell(message: FromGenerator): void {
  process.send?.(message)
}

process.on('message', (message: ToGenerator) => {
  if ('job' in message) void run(message.job)
})
// Whoever started it may be killed: nothing is left running then.
process.on('disconnect', () => process.exit())
