import { createRoute, z } from '@hono/zod-openapi'
import { json } from '../http/frame.ts'
import { type Api, jsonAnswer, jsonBody, problemResponses, time } from '../http/openapi.ts'
import type { Audit } from './audit.ts'

const count = z.int().nonnegative()
const place = z.union([z.string(), z.number(), z.null()])

const verdictSchema = z
  .object({
    ok: z.boolean().openapi({ description: 'no rule is broken; after a repair: none is any more' }),
    at: time,
    rules: z.array(
      z.object({
        rule: z.string(),
        about: z.string().openapi({ description: 'what must hold' }),
        looked: count.openapi({ description: 'rows or keys held against the rule' }),
        skipped: count.openapi({ description: 'of these, how many changed at each look' }),
        violated: count,
        violations: z
          .array(z.record(z.string(), z.unknown()))
          .openapi({ description: 'a sample of what breaks the rule' }),
      }),
    ),
    changes: z
      .array(z.object({ what: z.string(), key: z.string(), from: place, to: place }))
      .openapi({ description: 'what the repair changed in Redis' }),
  })
  .openapi('Verdict')

const audit = createRoute({
  method: 'post',
  path: '/v1/admin/audit',
  summary: 'Hold the data of both stores against the rules, and put Redis right if asked to',
  tags: ['admin'],
  security: [{ admin: [] }],
  request: {
    body: { ...jsonBody(z.strictObject({ repair: z.boolean().default(false) })), required: false },
  },
  responses: {
    200: jsonAnswer('The verdict, also when rules are broken', verdictSchema),
    ...problemResponses('UNAUTHENTICATED', 'FORBIDDEN', 'BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'),
  },
})

/** Adds the route of the audit. */
export function addAuditRoutes(api: Api, { run }: Audit): void {
  api.openapi(audit, async (c) => {
    const { repair = false } = c.req.valid('json')
    return json(c, await run({ repair, requestId: c.env.requestId }), 200)
  })
}
