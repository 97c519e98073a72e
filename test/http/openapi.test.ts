import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ProblemCode, problems } from '../../src/errors.ts'
import { adminToken, type Harness, startHarness } from '../setup/harness.ts'

interface Schema {
  $ref?: string
  type?: string | string[]
  properties?: Record<string, Schema & { enum?: string[] }>
  required?: string[]
  items?: Schema
  maximum?: number
  minLength?: number
  maxLength?: number
}
interface Parameter {
  name: string
  in: string
  required?: boolean
  schema: Schema
}
interface Operation {
  summary: string
  tags: string[]
  security?: Record<string, string[]>[]
  parameters?: Parameter[]
  requestBody?: { required?: boolean; content: Record<string, { schema: Schema }> }
  responses: Record<
    string,
    {
      description: string
      headers: Record<string, unknown>
      content: Record<string, { schema: Schema }>
    }
  >
}
interface Document {
  openapi: string
  info: Record<string, string>
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema>; securitySchemes: Record<string, unknown> }
}

let harness: Harness
let document: Document
let operations: { method: string; path: string; operation: Operation }[]

beforeAll(async () => {
  harness = await startHarness()
  const answer = await harness.get('/openapi.json')
  expect(answer.status).toBe(200)
  document = answer.body
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  )
})
afterAll(() => harness.stop())

const probes = ['/livez', '/readyz', '/metrics']
const templateOf = (route: string) => route.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')

/** A path with values that fit its parameters. */
const exampleOf = (path: string) =>
  path
    .replaceAll(/\{(couponId|orderId)\}/g, '0192f0c1-7c1e-7000-8000-000000000000')
    .replaceAll('{date}', '2026-01-31')
    .replaceAll(/\{\w+\}/g, '1')

describe('the document', () => {
  it('is OpenAPI 3.1 with everything that such a document must have', () => {
    expect(document.openapi).toBe('3.1.0')
    expect(document.info).toEqual({
      title: 'seonchak',
      version: expect.stringMatching(/\S/),
      description: expect.stringMatching(/\S/),
    })
    expect(document.components.securitySchemes).toMatchObject({ admin: { type: 'http', scheme: 'bearer' } })
    expect(operations.length).toBeGreaterThanOrEqual(5)
    for (const { method, path, operation } of operations) {
      const where = `${method} ${path}`
      expect(['get', 'put', 'post', 'patch', 'delete'], where).toContain(method)
      expect(operation.summary, where).toMatch(/\S/)
      expect(operation.tags, where).toHaveLength(1)
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
      const inTemplate = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
      expect(declared.map(({ name }) => name).sort(), where).toEqual(inTemplate.sort())
      for (const parameter of declared) expect(parameter.required, where).toBe(true)
      for (const parameter of operation.parameters ?? []) {
        expect(parameter.schema.type, `${where} ${parameter.name}`).toMatch(/^(integer|string)$/)
      }
    }
  })

  it('[ALL-3] has every route under /v1 and those for probes, and no other', () => {
    const served = harness.app.routes
      .filter((route) => route.method !== 'ALL' && !route.path.includes('*'))
      .filter((route) => route.path.startsWith('/v1/') || probes.includes(route.path))
      .map((route) => `${route.method} ${templateOf(route.path)}`)
    const described = operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`)
    expect([...new Set(served)].sort()).toEqual(described.sort())
  })

  it('resolves all its references', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1])
    expect(references.length).toBeGreaterThanOrEqual(1)
    const known = Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`)
    for (const reference of references) expect(known).toContain(reference)
  })

  it('gives every answer a description and JSON, and every problem as application/problem+json', () => {
    for (const { method, path, operation } of operations) {
      const statuses = Object.keys(operation.responses).map(Number)
      expect(statuses.filter((status) => status < 400)).toHaveLength(1)
      if (path.startsWith('/v1/')) {
        expect(statuses, `${method} ${path}`).toEqual(expect.arrayContaining([400, 500, 503]))
      }
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        const where = `${method} ${path} ${status}`
        expect(description, where).toMatch(/\S/)
        const good = path === '/metrics' ? 'text/plain' : 'application/json'
        const type = Number(status) < 400 ? good : 'application/problem+json'
        expect(Object.keys(content), where).toEqual([type])
        if (Number(status) < 400) continue
        const schema = content[type]?.schema
        expect(schema?.required, where).toEqual(
          expect.arrayContaining(['type', 'title', 'status', 'code', 'detail', 'instance', 'requestId']),
        )
        const codes = schema?.properties?.code?.enum ?? []
        expect(codes.length, where).toBeGreaterThanOrEqual(1)
        expect(new Set(codes).size, where).toBe(codes.length)
        for (const code of codes) {
          expect([code, problems[code as ProblemCode].status], where).toEqual([code, Number(status)])
          expect(description, where).toContain(`\`${code}\`: ${problems[code as ProblemCode].title}`)
        }
      }
    }
  })

  it('tells of the limits on bodies wherever there is one, and of the token under /v1/admin', () => {
    for (const { method, path, operation } of operations) {
      const where = `${method} ${path}`
      const statuses = Object.keys(operation.responses)
      if (operation.requestBody) {
        expect(Object.keys(operation.requestBody.content), where).toEqual(['application/json'])
        expect(statuses, where).toEqual(expect.arrayContaining(['413', '415']))
      }
      if (path.startsWith('/v1/admin/')) {
        expect(operation.security, where).toEqual([{ admin: [] }])
        expect(statuses, where).toEqual(expect.arrayContaining(['401', '403']))
      }
    }
  })

  it('[ALL-2, ALL-3] tells of the headers of each answer', () => {
    const kept: string[] = []
    for (const { method, path, operation } of operations) {
      for (const [status, { headers }] of Object.entries(operation.responses)) {
        const where = `${method} ${path} ${status}`
        expect(Object.keys(headers), where).toContain('X-Request-Id')
        expect(Object.keys(headers).includes('Retry-After'), where).toBe(['429', '503'].includes(status))
        if (Object.keys(headers).includes('Idempotent-Replayed')) kept.push(where)
      }
      const key = operation.parameters?.find(({ name }) => name === 'idempotency-key')
      if (key) expect(key.schema, path).toMatchObject({ minLength: 1, maxLength: 255 })
    }
    expect(kept.sort()).toEqual([
      'post /v1/admin/coupon-policies 201',
      'post /v1/admin/products 201',
      'post /v1/admin/products/{productId}/restock 200',
      'post /v1/orders 201',
      'post /v1/orders 402',
      'post /v1/orders/{orderId}/cancel 200',
      'post /v1/users/{userId}/balance/charge 200',
    ])
  })

  it('[ALL-3] tells what a code adds, as always there where the status has no other code', () => {
    const added: Partial<Record<ProblemCode, string[]>> = {
      VALIDATION_FAILED: ['errors'],
      INSUFFICIENT_BALANCE: ['orderId', 'balance', 'required'],
      COUPON_ALREADY_ISSUED: ['couponId'],
      STOCK_INSUFFICIENT: ['productId', 'available'],
    }
    const seen = new Set<string>()
    for (const { method, path, operation } of operations) {
      for (const [status, { content }] of Object.entries(operation.responses)) {
        const schema = content['application/problem+json']?.schema
        const codes = (schema?.properties?.code?.enum ?? []) as ProblemCode[]
        for (const code of codes) {
          for (const member of added[code] ?? []) {
            const where = `${method} ${path} ${status} ${member}`
            expect(Object.keys(schema?.properties ?? {}), where).toContain(member)
            expect(schema?.required?.includes(member), where).toBe(codes.length === 1)
            seen.add(code)
          }
        }
      }
    }
    expect([...seen].sort()).toEqual(Object.keys(added).sort())
  })

  it('[ALL-3] bounds every integer that a body takes', () => {
    const integersOf = (schema: Schema): Schema[] =>
      schema.type === 'integer'
        ? [schema]
        : [...Object.values(schema.properties ?? {}), ...(schema.items ? [schema.items] : [])].flatMap(
            integersOf,
          )
    const integers = operations.flatMap(({ operation }) =>
      Object.values(operation.requestBody?.content ?? {}).flatMap(({ schema }) => integersOf(schema)),
    )
    expect(integers.length).toBeGreaterThan(10)
    for (const { maximum } of integers) expect(maximum).toBeLessThanOrEqual(Number.MAX_SAFE_INTEGER)
  })

  it('names every route as it answers: 405 with Allow for each other method', async () => {
    for (const [path, methods] of Object.entries(document.paths)) {
      const allowed = Object.keys(methods).map((method) => method.toUpperCase())
      if (allowed.includes('GET')) allowed.push('HEAD')
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        if (allowed.includes(method)) continue
        const answer = await harness.call(method, exampleOf(path), undefined, {
          Authorization: `Bearer ${adminToken}`,
        })
        const where = `${method} ${path}`
        expect([answer.status, answer.body.code], where).toEqual([405, 'METHOD_NOT_ALLOWED'])
        expect(answer.headers.get('allow'), where).toBe(allowed.sort().join(', '))
      }
    }
  })
})

describe('the reference page', () => {
  it('shows the document, with nothing from another host', async () => {
    const response = await harness.app.request('/docs')
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/html/)
    const page = await response.text()
    expect(page).toContain("url: '/openapi.json'")
    expect(page).not.toMatch(/https?:|["'(]\/\//)
    const assets = [...page.matchAll(/(?:href|src)="([^"]+)"/g)].map((match) => match[1] ?? '')
    expect(assets).toEqual(['/docs/swagger-ui.css', '/docs/swagger-ui-bundle.js'])

    const [style, script] = await Promise.all(assets.map((asset) => harness.app.request(asset)))
    expect([style?.status, script?.status]).toEqual([200, 200])
    expect(style?.headers.get('content-type')).toMatch(/^text\/css/)
    expect(script?.headers.get('content-type')).toMatch(/^text\/javascript/)
    expect(await style?.text()).not.toMatch(/url\(["']?(?:https?:)?\/\//)
    expect(await script?.text()).toContain('SwaggerUIBundle')
  })
})
