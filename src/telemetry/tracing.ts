import {
  type Context,
  context,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'

/** Spans around what a write goes through. Where tracing is off, each of these only calls `body`. */
export interface Tracing {
  readonly isOn: boolean
  /** Runs `body` in a span, child of the one around it. */
  span<Result>(name: string, body: () => Promise<Result>): Promise<Result>
  /** Remembers the span around the caller for a member of a batch. Gives the member. */
  member<Member extends object>(member: Member): Member
  /** Runs `body`, which serves all members at once: a child of the span of the first, linked to those of the others. */
  batch<Result>(name: string, members: object[], body: () => Promise<Result>): Promise<Result>
  /** Runs `body` in the span of a request, child of the caller's `parent`. It names and closes the span. */
  request<Result>(parent: Context, body: (span: Span) => Promise<Result>): Promise<Result>
}

/** No tracing: nothing is created. */
export const tracingOff: Tracing = {
  isOn: false,
  span: (_name, body) => body(),
  member: (member) => member,
  batch: (_name, _members, body) => body(),
  request: (_parent, body) => body(trace.wrapSpanContext({ traceId: '', spanId: '', traceFlags: 0 })),
}

/** Spans by this tracer; a context manager must be registered. */
export function createTracing(tracer: Tracer): Tracing {
  const contexts = new WeakMap<object, Context>()

  function run<Result>(
    parent: Context,
    name: string,
    options: { kind?: SpanKind; links?: Link[]; attributes?: Record<string, number> },
    body: (span: Span) => Promise<Result>,
  ): Promise<Result> {
    const span = tracer.startSpan(name, options, parent)
    return context.with(trace.setSpan(parent, span), async () => {
      try {
        return await body(span)
      } catch (error) {
        // The name only: a message of a store may carry data.
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : 'error' })
        throw error
      } finally {
        span.end()
      }
    })
  }

  return {
    isOn: true,
    span: (name, body) => run(context.active(), name, {}, body),
    member(member) {
      contexts.set(member, context.active())
      return member
    },
    batch(name, members, body) {
      const [parent, ...others] = members.flatMap((member) => contexts.get(member) ?? [])
      const links = others.flatMap((other): Link[] => {
        const spanContext = trace.getSpanContext(other)
        return spanContext ? [{ context: spanContext }] : []
      })
      return run(parent ?? ROOT_CONTEXT, name, { links, attributes: { 'batch.size': members.length } }, body)
    },
    request: (parent, body) => run(parent, 'request', { kind: SpanKind.SERVER }, body),
  }
}
