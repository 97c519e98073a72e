import fc from 'fast-check'
import type { Operation, Schema } from './operations.ts'

/** Values by the name of the parameter or member: ids that exist among others. */
export type Pool = Record<string, unknown[]>

export interface FuzzCall {
  operation: Operation
  path: string
  body: string | undefined
  headers: Record<string, string>
}

const unknownIds = [1_000_000_007, 2 ** 31, Number.MAX_SAFE_INTEGER]
const strange = ['0', '-1', '1.5', '1e3', '٣', 'null', '%00', "1' or '1'='1", '../admin', '9007199254740993']
const unknownUuids = ['0192f0c1-7c1e-7000-8000-00000000dead', '00000000-0000-0000-0000-000000000000']

/** Calls of an operation: most of them in order, some with one part that is not, and some made of anything. */
export function callsOf(operation: Operation, pool: Pool, tokens: string[]): fc.Arbitrary<FuzzCall> {
  const parameters = operation.parameters.map((parameter) =>
    fc
      .record({
        isGiven: parameter.required ? fc.constant(true) : fc.boolean(),
        good: anyOf(parameter.schema, parameter.name, pool).map(String),
        bad: fc.oneof(
          fc.constantFrom(...strange),
          fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
        ),
        isBad: oneIn(12),
      })
      .map(({ isGiven, good, bad, isBad }) => ({ ...parameter, isGiven, text: isBad ? bad : good })),
  )
  const body = operation.body
    ? fc.oneof(
        { weight: 12, arbitrary: anyOf(operation.body, '', pool).map((value) => JSON.stringify(value)) },
        { weight: 2, arbitrary: broken(anyOf(operation.body, '', pool)) },
        { weight: 1, arbitrary: fc.json() },
        { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 50 }) },
      )
    : fc.constantFrom(undefined, '{}')
  return fc
    .record({
      parameters: fc.tuple(...parameters),
      body: operation.method === 'GET' ? fc.constant(undefined) : body,
      type: fc.oneof(
        { weight: 20, arbitrary: fc.constant('application/json') },
        { weight: 1, arbitrary: fc.constantFrom('text/plain', 'application/json; charset=utf-16') },
      ),
      token: fc.oneof(
        { weight: 20, arbitrary: fc.constant(tokens[0]) },
        { weight: 1, arbitrary: fc.constantFrom(...tokens, undefined, 'Basic eDp5') },
      ),
    })
    .map(({ parameters: given, body: text, type, token }) => {
      let path = operation.path
      const query = new URLSearchParams()
      const headers: Record<string, string> = text === undefined ? {} : { 'Content-Type': type }
      if (token !== undefined) headers.Authorization = token
      for (const { name, in: place, isGiven, text: value } of given) {
        if (!isGiven) continue
        if (place === 'path') path = path.replace(`{${name}}`, encodeURIComponent(value))
        else if (place === 'query') query.set(name, value)
        else headers[name] = value.replaceAll(/[^\x20-\x7e]/g, '').trim()
      }
      return { operation, path: query.size > 0 ? `${path}?${query}` : path, body: text, headers }
    })
}

const oneIn = (times: number) => fc.nat({ max: times - 1 }).map((value) => value === 0)

/** A body with one member missing, of another type, or too many. */
function broken(values: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  return fc.tuple(values, fc.nat(), fc.jsonValue(), fc.nat({ max: 2 })).map(([value, at, other, how]) => {
    const members = Object.entries(value as object)
    const index = members.length === 0 ? 0 : at % members.length
    if (how === 0) members.splice(index, 1)
    else if (how === 1 && members[index]) members[index] = [members[index][0], other]
    else members.push(['surplus', other])
    return JSON.stringify(Object.fromEntries(members))
  })
}

/** Values that fit a schema; by their name where the pool knows it, with some that are valid and unknown. */
function anyOf(schema: Schema, name: string, pool: Pool): fc.Arbitrary<unknown> {
  const named = pool[name]
  if (named) {
    const unknown = typeof named[0] === 'number' ? unknownIds : schema.format === 'uuid' ? unknownUuids : []
    if (unknown.length === 0) return fc.constantFrom(...named)
    return fc.oneof(
      { weight: 10, arbitrary: fc.constantFrom(...named) },
      { weight: 1, arbitrary: fc.constantFrom<unknown>(...unknown) },
    )
  }
  if (schema.enum) return fc.constantFrom(...schema.enum)
  switch ([schema.type].flat()[0]) {
    case 'object': {
      const members = Object.entries(schema.properties ?? {}).map(([each, of]) => [
        each,
        anyOf(of, each, pool),
      ])
      return fc.record(Object.fromEntries(members), { requiredKeys: (schema.required ?? []) as never[] })
    }
    case 'array':
      return fc.uniqueArray(anyOf(schema.items ?? {}, '', pool), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? 5, 4),
        selector: (item) => (item as { productId?: unknown }).productId ?? item,
      })
    case 'integer': {
      const min = schema.exclusiveMinimum === undefined ? (schema.minimum ?? 0) : schema.exclusiveMinimum + 1
      const max = Math.min(schema.maximum ?? Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
      return fc.oneof(
        { weight: 6, arbitrary: fc.integer({ min, max: Math.min(max, min + 4) }) },
        { weight: 1, arbitrary: fc.maxSafeInteger().map((value) => Math.min(max, Math.max(min, value))) },
      )
    }
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    default:
      if (schema.format === 'date-time') {
        return fc
          .date({ min: new Date('2020-01-01'), max: new Date('2035-01-01'), noInvalidDate: true })
          .map((date) => date.toISOString())
      }
      if (schema.format === 'uuid') return fc.constantFrom(...unknownUuids)
      return fc.string({ minLength: schema.minLength ?? 0, maxLength: Math.min(schema.maxLength ?? 40, 40) })
  }
}
