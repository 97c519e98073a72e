/** A schema of the OpenAPI document, as far as these tests read it. */
export interface Schema {
  $ref?: string
  type?: string | string[]
  format?: string
  enum?: unknown[]
  pattern?: string
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  minItems?: number
  maxItems?: number
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
}

interface Parameter {
  name: string
  in: 'path' | 'query' | 'header'
  required?: boolean
  schema: Schema
}

export interface Operation {
  method: string
  path: string
  /** whom its `security` names; undefined where it names nobody, and what it says where it says more */
  audience: string | undefined
  statuses: string[]
  parameters: Parameter[]
  body: Schema | undefined
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>
}

export interface Call {
  method: string
  path: string
  body: unknown
}

interface Document {
  paths: Record<
    string,
    Record<
      string,
      {
        security?: Record<string, string[]>[]
        parameters?: Parameter[]
        requestBody?: { content: Record<string, { schema: Schema }> }
        responses: Operation['responses']
      }
    >
  >
}

/** Every operation of the API, which is those under /v1. */
export function operationsOf(document: Document): Operation[] {
  const paths = Object.entries(document.paths).filter(([path]) => path.startsWith('/v1/'))
  return paths.flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      audience:
        operation.security && (operation.security.flatMap((each) => Object.keys(each)).join() || 'everyone'),
      statuses: Object.keys(operation.responses),
      parameters: operation.parameters ?? [],
      body: operation.requestBody?.content['application/json']?.schema,
      responses: operation.responses,
    })),
  )
}

/** A call of an operation that is in order: what `ids` names by that name, and the least that the schema takes. */
export function callOf({ method, path, body }: Operation, ids: Record<string, unknown>): Call {
  return {
    method,
    path: path.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(ids[name] ?? `no-${name}`)),
    body: method === 'GET' ? undefined : body ? exampleOf(body, '', ids) : {},
  }
}

function exampleOf(schema: Schema, name: string, ids: Record<string, unknown>): unknown {
  if (ids[name] !== undefined) return ids[name]
  if (schema.enum) return schema.enum[0]
  switch ([schema.type].flat()[0]) {
    case 'object':
      return Object.fromEntries(
        (schema.required ?? []).map((each) => [each, exampleOf(schema.properties?.[each] ?? {}, each, ids)]),
      )
    case 'array':
      return [exampleOf(schema.items ?? {}, '', ids)]
    case 'integer':
      // Enough for the least charge, and no more than a percentage may be.
      return name === 'amount' ? 10_000 : 1
    case 'boolean':
      return false
    default:
      if (schema.format === 'date-time')
        return name.includes('End') ? '2031-01-01T00:00:00Z' : '2026-01-01T00:00:00Z'
      return 'example'
  }
}
