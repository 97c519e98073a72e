import { setTimeout as pause } from 'node:timers/promises'
import { createTracing, type Tracing } from './tracing.ts'

/** What is left to be sent at the end has this long, ms: a collector that is away must not hold up the stop. */
const closeMs = 2000

/**
 * Starts tracing to an OpenTelemetry collector (OTLP over HTTP). The SDK is loaded only here, so a process without
 * tracing never has it. Its further settings are the standard OTEL_* variables, which it reads itself.
 * @param endpoint base URL of the collector; spans go to `<endpoint>/v1/traces`
 */
export async function startTracing(endpoint: string): Promise<{ tracing: Tracing; close(): Promise<void> }> {
  const [{ BatchSpanProcessor, NodeTracerProvider }, { OTLPTraceExporter }, { resourceFromAttributes }] =
    await Promise.all([
      import('@opentelemetry/sdk-trace-node'),
      import('@opentelemetry/exporter-trace-otlp-http'),
      import('@opentelemetry/resources'),
    ])
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, '')}/v1/traces` })
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'seonchak' }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  })
  // Brings the context manager that carries the span around a call over its awaits.
  provider.register()
  return { tracing: createTracing(provider.getTracer('seonchak')), close }

  async function close(): Promise<void> {
    // Spans that did not get through are lost, which is all that can go wrong here.
    const shutDown = provider.shutdown().catch(() => undefined)
    await Promise.race([shutDown, pause(closeMs, undefined, { ref: false })])
  }
}
