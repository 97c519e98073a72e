import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { context, propagation, trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { createTracing, tracingOff } from '../../src/telemetry/tracing.ts'
import { type Harness, startHarness } from '../setup/harness.ts'
import { startServer } from '../setup/server.ts'

const exporter = new InMemorySpanExporter()
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
let harness: Harness

beforeAll(async () => {
  provider.register()
  harness = await startHarness({ ambient: { tracing: createTracing(provider.getTracer('test')) } })
})
beforeEach(() => exporter.reset())
afterAll(async () => {
  await harness.stop()
  await provider.shutdown()
  for (const api of [trace, context, propagation]) api.disable()
})

/** The finished spans as a tree: each with the names of its children, in the order in which they began. */
function tree(spans: ReadableSpan[], parent?: ReadableSpan): unknown[] {
  return spans
    .filter((span) => span.parentSpanContext?.spanId === parent?.spanContext().spanId)
    .sort((a, b) => a.startTime[0] - b.startTime[0] || a.startTime[1] - b.startTime[1])
    .map((span) => {
      const children = tree(spans, span)
      return children.length === 0 ? span.name : [span.name, ...children]
    })
}

it('an issued coupon is admitted, committed and settled, in the trace of its request', async () => {
  const policyId = await harness.policy()
  exporter.reset()
  expect((await harness.issue(policyId, 1)).status).toBe(201)
  const spans = exporter.getFinishedSpans()
  expect(tree(spans)).toEqual([
    [
      'POST /v1/coupon-policies/:policyId/issue',
      ['coupon', 'coupon.admit', 'coupon.commit', 'coupon.settle'],
    ],
  ])
  expect(new Set(spans.map((span) => span.spanContext().traceId)).size).toBe(1)
  const request = spans.find(({ name }) => name.startsWith('POST'))
  expect(request?.attributes).toMatchObject({ 'http.response.status_code': 201 })
})

it('a refused one is admitted only', async () => {
  const policyId = await harness.policy({ totalQuantity: 1 })
  await harness.issue(policyId, 1)
  exporter.reset()
  expect((await harness.issue(policyId, 2)).status).toBe(409)
  expect(tree(exporter.getFinishedSpans())).toEqual([
    ['POST /v1/coupon-policies/:policyId/issue', ['coupon', 'coupon.admit']],
  ])
})

it('charge, order and cancellation each have their spans', async () => {
  const productId = await harness.product()
  exporter.reset()
  await harness.charge(1, 10_000)
  const ordered = await harness.order(1, productId)
  await harness.cancel(ordered.body.order?.id ?? ordered.body.id)
  expect(tree(exporter.getFinishedSpans())).toEqual([
    ['POST /v1/users/:userId/balance/charge', ['charge', 'charge.commit']],
    ['POST /v1/orders', ['order', 'order.admit', 'order.commit', 'order.settle']],
    ['POST /v1/orders/:orderId/cancel', ['cancel', 'cancel.admit', 'cancel.commit', 'cancel.settle']],
  ])
})

it('a batch is in the trace of its first member, and linked to the others', async () => {
  const policyId = await harness.policy()
  exporter.reset()
  await Promise.all([1, 2, 3, 4].map((userId) => harness.issue(policyId, userId)))
  const spans = exporter.getFinishedSpans()
  const commits = spans.filter(({ name }) => name === 'coupon.commit')
  const members = commits.map((span) => Number(span.attributes['batch.size']))
  expect(members.reduce((sum, size) => sum + size, 0)).toBe(4)
  const calls = new Set(
    spans.filter(({ name }) => name === 'coupon').map((span) => span.spanContext().spanId),
  )
  for (const commit of commits) {
    expect(commit.links).toHaveLength(Number(commit.attributes['batch.size']) - 1)
    for (const id of [commit.parentSpanContext, ...commit.links.map((link) => link.context)]) {
      expect(calls.delete(id?.spanId ?? '')).toBe(true)
    }
  }
  expect(calls.size).toBe(0)
})

it('the trace of the caller goes on', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  await harness.call('GET', '/v1/products/999999999', undefined, { traceparent })
  const [request] = exporter.getFinishedSpans()
  expect(request?.spanContext().traceId).toBe('0af7651916cd43dd8448eb211c80319c')
  expect(request?.parentSpanContext?.spanId).toBe('b7ad6b7169203331')
})

it('a process sends its spans to the collector that its environment names, also at its end', async () => {
  const bodies: { path: string | undefined; text: string }[] = []
  const collector = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    bodies.push({ path: request.url, text })
    response.setHeader('Content-Type', 'application/json').end('{}')
  })
  await once(collector.listen(0, '127.0.0.1'), 'listening')
  const { port } = collector.address() as AddressInfo
  try {
    const policyId = await harness.policy()
    const server = await startServer(harness.on, { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` })
    expect((await server.issue(policyId, 1)).status).toBe(201)
    expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(new Set(bodies.map(({ path }) => path))).toEqual(new Set(['/v1/traces']))
    const sent = bodies.map(({ text }) => text).join()
    for (const name of ['coupon.admit', 'coupon.commit', 'coupon.settle']) expect(sent).toContain(`"${name}"`)
    expect(sent).toContain('"seonchak"')
  } finally {
    collector.close()
  }
})

it('switched off, nothing is created', async () => {
  const member = {}
  expect(tracingOff.member(member)).toBe(member)
  const body = async () => trace.getActiveSpan()
  expect(await tracingOff.span('a', body)).toBeUndefined()
  expect(await tracingOff.batch('b', [member], body)).toBeUndefined()
  expect(exporter.getFinishedSpans()).toEqual([])
})
