import { OpenAPIHono, type RouteConfig, z } from '@hono/zod-openapi'
import { type ProblemCode, problems } from '../errors.ts'
import type { Access, Audience } from './access.ts'
import { createEndpoint, type Handler } from './endpoint.ts'
import { type HttpEnv, named } from './frame.ts'
import type { Problem } from './problem.ts'
import { createRouter } from './router.ts'

export type Api = OpenAPIHono<HttpEnv>

/**
 * Makes a router whose routes validate with the schemas that document them, and let in whom their `security` names:
 * `[]` everyone, `[{ user: [] }]` users, `[{ admin: [] }]` the admin. A route that names nobody is refused at start.
 */
export function createApi(access: Access): Api {
  const api = new OpenAPIHono<HttpEnv>({ router: createRouter() })
  api.openapi = ((route: RouteConfig, handler: Handler) => {
    const audience = audienceOf(route)
    describe(api, { ...route, responses: { ...refusalsOf(route, audience), ...route.responses } })
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1')
    return api.on(route.method, path, createEndpoint(path, route, audience, access, handler))
  }) as typeof api.openapi
  return api
}

/** Adds a GET route of the process itself, for probes and scrapes: it takes no input and is for everyone. */
export function addProbe(
  api: Api,
  route: { path: string; summary: string; responses: RouteConfig['responses'] },
  handler: Parameters<typeof named>[1],
): void {
  describe(api, { method: 'get', tags: ['operation'], security: [], ...route })
  api.get(...named(route.path, handler))
}

/** Puts a route into the document, with the headers of its answers. */
function describe(api: Api, route: RouteConfig): void {
  const isRepeatable = route.request?.headers === idempotencyHeader
  const responses = Object.entries(route.responses).map(([status, response]) => [
    status,
    { ...response, headers: headersOf(Number(status), isRepeatable) },
  ])
  api.openAPIRegistry.registerPath({ ...route, responses: Object.fromEntries(responses) })
}

function headersOf(status: number, isRepeatable: boolean) {
  const { INSUFFICIENT_BALANCE, RATE_LIMITED, UNAVAILABLE } = problems
  const mayWait = status === RATE_LIMITED.status || status === UNAVAILABLE.status
  const isKept = isRepeatable && (status < 300 || status === INSUFFICIENT_BALANCE.status)
  return {
    'X-Request-Id': {
      description: 'that of the request where it is at most 128 safe characters, else a new one',
      required: true,
      schema: { type: 'string' },
    },
    ...(mayWait && {
      'Retry-After': { description: 'seconds', required: true, schema: { type: 'integer', minimum: 1 } },
    }),
    ...(isKept && {
      'Idempotent-Replayed': {
        description: 'the call had its effect before: this is its answer again',
        schema: { type: 'string', enum: ['true'] },
      },
    }),
  }
}

function audienceOf({ method, path, security }: RouteConfig): Audience {
  const named = security?.flatMap((scheme) => Object.keys(scheme)).join()
  if (named === '') return 'everyone'
  if (named === 'user' || named === 'admin') return named
  throw new Error(`${method.toUpperCase()} ${path} must say by its security whom it is for`)
}

/** What any such route may answer before its handler runs. */
function refusalsOf({ method }: RouteConfig, audience: Audience): RouteConfig['responses'] {
  const isWrite = method !== 'get'
  const codes: ProblemCode[] = [
    ...(isWrite ? (['BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'] as const) : []),
    ...(audience === 'everyone' ? [] : (['UNAUTHENTICATED', 'FORBIDDEN'] as const)),
    ...(isWrite && audience === 'user' ? (['RATE_LIMITED'] as const) : []),
  ]
  return problemResponses(...codes)
}

type StatusOf<Code extends ProblemCode> = (typeof problems)[Code]['status']
type CodesWith<Code extends ProblemCode, Status> = Code extends ProblemCode
  ? StatusOf<Code> extends Status
    ? Code
    : never
  : never

type ProblemResponses<Code extends ProblemCode> = {
  [Status in StatusOf<Code>]: {
    description: string
    content: { 'application/problem+json': { schema: z.ZodType<Problem<CodesWith<Code, Status>>> } }
  }
}

/** The problem answers of a route, by status, from the codes that it can give. Every route can give 400 and 5xx. */
export function problemResponses<Code extends ProblemCode>(...codes: Code[]) {
  type All = Code | 'VALIDATION_FAILED' | 'INTERNAL' | 'UNAVAILABLE'
  const all: ProblemCode[] = ['VALIDATION_FAILED', 'INTERNAL', 'UNAVAILABLE', ...codes]
  const byStatus = Map.groupBy(all, (code) => problems[code].status)
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: [...new Set(group)].map((code) => `\`${code}\`: ${problems[code].title}`).join('\n\n'),
        content: { 'application/problem+json': { schema: problemSchema(group) } },
      },
    ]),
  ) as unknown as ProblemResponses<All>
}

/** What a code adds to its problem document. */
function membersOf(code: ProblemCode) {
  const units = z.int().nonnegative()
  switch (code) {
    case 'VALIDATION_FAILED':
      return { errors: z.array(z.object({ path: z.string(), message: z.string() })).min(1) }
    case 'INSUFFICIENT_BALANCE':
      return { orderId: z.uuid(), balance: units, required: units }
    case 'COUPON_ALREADY_ISSUED':
      return { couponId: z.uuid() }
    case 'STOCK_INSUFFICIENT':
      return { productId: id, available: units }
    default:
      return {}
  }
}

function problemSchema(codes: ProblemCode[]) {
  // With other codes beside it, what one adds is not always there.
  const added = codes.map((code) => z.object(membersOf(code)))
  const members = codes.length === 1 ? added : added.map((each) => each.partial())
  return z.looseObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(codes as [ProblemCode, ...ProblemCode[]]),
    detail: z.string(),
    instance: z.string(),
    requestId: z.string(),
    ...Object.assign({}, ...members.map(({ shape }) => shape)),
  })
}

const idText = /^[1-9]\d{0,15}$/

/** A positive safe integer in a path: one step, as each that Zod takes costs every request. */
export function idInPath(name: string) {
  return z
    .transform((text: string, { issues }) => {
      const value = idText.test(text) ? Number(text) : Number.NaN
      if (!Number.isSafeInteger(value)) {
        issues.push({ code: 'custom', input: text, message: 'must be a positive safe integer' })
      }
      return value
    })
    .openapi({ param: { name, in: 'path' }, type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
}

/** A UUID in a path. */
export function uuidInPath(name: string) {
  return z.uuid().openapi({ param: { name, in: 'path' } })
}

/** A positive safe integer in a body: of another, `z.int` takes none. */
export const positive = z.int().positive().openapi({ maximum: Number.MAX_SAFE_INTEGER })

/** An id in a body. */
export const id = positive

/** A regex without flags: the document has no place for them. So no `\p{Cc}`, but its two ranges. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it is for
const noControlCharacters = /^[^\u0000-\u001f\u007f-\u009f]*$/

/** A name that people gave. Postgres takes no NUL, and no name needs a control character. */
export const name = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .regex(noControlCharacters, 'must not have control characters')
  // Half a character, which UTF-8 cannot say: it would be stored as another.
  .refine((text) => text.isWellFormed(), 'must not have lone surrogates')

/** The header of a write that may be repeated (ALL-2). Its form is checked where it is used. */
export const idempotencyHeader = z.object({
  'idempotency-key': z.string().min(1).max(255).optional().openapi({
    description: '1 to 255 printable characters; the answer is kept for at least 24 hours',
  }),
})

/** A point in time in an answer: ISO 8601 with offset Z. */
export const time = z.iso.datetime()

/** The last millisecond that four digits of a year can say: 9999-12-31T23:59:59.999Z. */
export const maxTimeMs = 253_402_300_799_999

/** A point in time in a body. Its text can name some, by its offset too, that Postgres or an answer cannot. */
export const timeInBody = z.iso
  .datetime({ offset: true })
  .transform((text) => new Date(text))
  .refine((at) => at.getTime() >= 0 && at.getTime() <= maxTimeMs, 'must be from 1970 to 9999 in UTC')

/** The JSON body of a request; one that is not there is refused. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { 'application/json': { schema } } } as const
}

/** A JSON answer. */
export function jsonAnswer<Schema extends z.ZodType>(description: string, schema: Schema) {
  return { description, content: { 'application/json': { schema } } } as const
}
