import { z } from 'zod'
import { faultsOfRedisUrl } from './redis/address.ts'
import { isLoginReadable, unreadableLogin } from './url-login.ts'

const roles = ['api', 'worker', 'scheduler'] as const
export type Role = (typeof roles)[number]

/** Digits alone: Number takes a blank for 0, and 0x10 for 16. */
const whole = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`
  return z.string().regex(/^\d+$/, error).transform(Number).pipe(z.number().min(min, error).max(max, error))
}
const url = (...protocols: string[]) =>
  // One look for both faults: with `abort`, none between settings would be told any more.
  z.string().superRefine((text, context) => {
    const parsed = URL.canParse(text) ? new URL(text) : undefined
    if (parsed === undefined || !protocols.includes(parsed.protocol)) {
      const starts = protocols.map((protocol) => `${protocol}//`).join(' or ')
      context.addIssue({ code: 'custom', message: `must be a URL that starts with ${starts}` })
    } else if (!isLoginReadable(parsed)) context.addIssue({ code: 'custom', message: unreadableLogin })
  })
/** `https://shop.example` as browsers send it: no path, no slash at the end. */
const origin = z
  .string()
  .refine((text) => URL.canParse(text) && new URL(text).origin === text && /^https?:/.test(text), {
    error: 'must be origins such as https://shop.example, without a path',
  })

const settings = z.object({
  NODE_ENV: z.string().default('production').describe('not read by the service; libraries do'),
  HOST: z.string().default('0.0.0.0').describe('address to listen on'),
  PORT: whole(0, 65_535).default(3000).describe('port to listen on; 0 picks a free one'),
  ROLES: z
    .string()
    .default(roles.join(','))
    .transform((text) => text.split(',').map((role) => role.trim()))
    .pipe(z.array(z.enum(roles)).min(1))
    .describe('what this process does: any of api, worker, scheduler'),
  WORKERS: whole(1, 64)
    .default(1)
    .describe('processes that serve the API on the port; from 2 on a process of its own has the other roles'),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('least severe of the log lines that are written'),
  DATABASE_URL: url('postgres:', 'postgresql:').describe('Postgres, 15 or newer'),
  REDIS_URL: z
    .string()
    .superRefine((text, context) => {
      for (const message of faultsOfRedisUrl(text)) context.addIssue({ code: 'custom', message })
    })
    .describe(
      'Redis 7.0 or newer, or Valkey; rediss:// is TLS; several URLs with commas between are nodes of one Redis Cluster',
    ),
  ADMIN_TOKEN: z
    .string()
    .min(16)
    // What a header can carry behind `Bearer `: any other token would never match.
    .regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without white space')
    .optional()
    .describe(
      'bearer token of /v1/admin, 16 characters or more without white space; unset, every admin route answers 403',
    ),
  AUTH_JWT_SECRET: z
    .string()
    .min(32)
    .optional()
    .describe('secret of user tokens (HS256), 32 characters or more; their sub is the user id'),
  AUTH_JWKS_URL: url('http:', 'https:')
    .optional()
    .describe('where the public keys of user tokens are; with neither, the gateway is trusted'),
  RATE_LIMIT_REQUESTS: whole(0, 1_000_000)
    .default(0)
    .describe('writes of one user in a window; beyond it they are answered 429; 0 sets no limit'),
  RATE_LIMIT_WINDOW_SECONDS: whole(1, 3600).default(1).describe('length of that window'),
  CORS_ORIGINS: z
    .string()
    .transform((text) => text.split(',').map((origin) => origin.trim()))
    .pipe(z.array(origin).min(1))
    .optional()
    .describe('origins whose pages may call the API from a browser, with commas between; unset, none'),
  REQUEST_TIMEOUT_MS: whole(100, 600_000)
    .default(10_000)
    .describe('deadline of a request that is not of the admin; after it 503'),
  DATABASE_POOL: whole(1, 200).default(10).describe('connections for reads and single statements'),
  DATABASE_TIMEOUT_MS: whole(100, 60_000)
    .default(5000)
    .describe(
      'deadline of a statement or transaction; Postgres gives a statement up after four fifths of it, a lock after three',
    ),
  REDIS_TIMEOUT_MS: whole(50, 60_000).default(2000).describe('deadline of a Redis command'),
  COMMIT_MAX_BATCH: whole(1, 5000)
    .default(500)
    .describe('members of one group commit; 1 is lock per request'),
  COMMIT_MAX_IN_FLIGHT: whole(1, 32)
    .default(2)
    .describe(
      'group commits of a kind under way at once, each on its own connection: a further one starts when it is as large as the smallest of them, or after 100 ms',
    ),
  COMMIT_MAX_QUEUE: whole(1, 1_000_000)
    .default(20_000)
    .describe(
      'writes of one kind (coupons, charges, orders, cancellations) admitted or waiting in a process; beyond it they are answered 503',
    ),
  STOCK_SHARDS: whole(1, 64)
    .default(1)
    .describe('Redis slots that products are spread over; the same for every process'),
  RECOVERY_INTERVAL_MS: whole(50, 60_000)
    .default(1000)
    .describe('pause between two runs of the recovery worker'),
  RECOVERY_MIN_AGE_MS: whole(500, 600_000)
    .default(3000)
    .describe(
      'age from which what is pending is taken for abandoned; a write waits for its batch two thirds of it, and 10 s, at most',
    ),
  DATA_PLATFORM_URL: url('http:', 'https:')
    .optional()
    .describe('where workers POST the events of orders; unset, the events stay in Postgres'),
  OUTBOX_BATCH: whole(1, 1000).default(100).describe('events in one POST to the data platform'),
  OUTBOX_MAX_ATTEMPTS: whole(1, 1000)
    .default(20)
    .describe('tries of an event before it is parked; those of an outage hardly count'),
  OUTBOX_POLL_MS: whole(10, 600_000)
    .default(1000)
    .describe('pause between two looks for events that nobody has told of'),
  OUTBOX_TIMEOUT_MS: whole(50, 60_000).default(5000).describe('deadline of a POST to the data platform'),
  OUTBOX_KEEP_HOURS: whole(1, 87_600)
    .default(72)
    .describe('hours that a delivered event is kept; then its row is deleted'),
  OTEL_EXPORTER_OTLP_ENDPOINT: url('http:', 'https:')
    .optional()
    .describe('OpenTelemetry collector (OTLP over HTTP) that spans go to; unset, there is no tracing'),
  SHUTDOWN_TIMEOUT_MS: whole(100, 600_000).default(10_000).describe('time that a graceful stop may take'),
  SHUTDOWN_DELAY_MS: whole(0, 600_000)
    .default(0)
    .describe('part of it in which the port stays open, while /readyz tells balancers to send no more'),
})

/** What must hold between settings. Judged with the other faults, not after them. */
const schema = settings
  .refine((env) => env.AUTH_JWT_SECRET === undefined || env.AUTH_JWKS_URL === undefined, {
    // With both, it would not be clear which tokens hold.
    path: ['AUTH_JWKS_URL'],
    error: 'must not be set together with AUTH_JWT_SECRET',
    when: () => true,
  })
  .refine((env) => !(env.WORKERS > 1 && Array.isArray(env.ROLES) && !env.ROLES.includes('api')), {
    path: ['WORKERS'],
    error: 'must be 1 where ROLES has no api: the other roles need one process',
    when: () => true,
  })
  .refine((env) => !(env.SHUTDOWN_DELAY_MS >= env.SHUTDOWN_TIMEOUT_MS), {
    path: ['SHUTDOWN_DELAY_MS'],
    error: 'must be less than SHUTDOWN_TIMEOUT_MS, of which it is a part',
    when: () => true,
  })

export type Env = z.output<typeof schema>

/** What the environment lacks or has wrong: one line per fault, never a value. */
export class EnvError extends Error {
  override name = 'EnvError'
  readonly faults: string[]
  constructor(faults: string[]) {
    super(`The environment is not valid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

/**
 * Reads the settings from the environment. An empty variable counts as unset.
 * @throws EnvError with every fault at once, by the name of its variable
 */
export function readEnv(source: Record<string, string | undefined> = process.env): Env {
  const given = Object.fromEntries(Object.entries(source).filter(([, value]) => value !== ''))
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  throw new EnvError(
    parsed.error.issues.map((issue) => {
      const name = String(issue.path[0])
      return given[name] === undefined ? `${name} is not set` : `${name}: ${issue.message}`
    }),
  )
}

/** Each setting's name, default, meaning and whether it must be set, for the documentation. */
export function describeEnv(): { name: string; fallback: string; meaning: string; required: boolean }[] {
  return Object.entries(schema.shape).map(([name, field]) => {
    const parsed = field.safeParse(undefined)
    return {
      name,
      fallback: parsed.success && parsed.data !== undefined ? String(parsed.data) : '',
      meaning: field.description ?? '',
      required: !parsed.success,
    }
  })
}
