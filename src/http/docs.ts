import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { html, raw } from 'hono/html'
import { named } from './frame.ts'
import type { Api } from './openapi.ts'

const assets = { 'swagger-ui.css': 'text/css', 'swagger-ui-bundle.js': 'text/javascript' } as const

const script = "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#reference', tryItOutEnabled: true })"
/** The page runs its own scripts and no other; Swagger UI writes styles and images into itself. */
const pagePolicy = [
  "default-src 'self'",
  `script-src 'self' 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "frame-ancestors 'none'",
].join('; ')

/** Publishes the OpenAPI document at `/openapi.json` and a reference page at `/docs` that needs no other server. */
export function addDocs(api: Api, info: { title: string; version: string; description: string }): void {
  api.openAPIRegistry.registerComponent('securitySchemes', 'admin', { type: 'http', scheme: 'bearer' })
  api.openAPIRegistry.registerComponent('securitySchemes', 'user', {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description:
      'A token whose `sub` is the user id. Checked when the server has AUTH_JWT_SECRET or AUTH_JWKS_URL; without them it trusts its gateway.',
  })
  api.get(...named('/openapi.json', (c) => c.json(api.getOpenAPI31Document({ openapi: '3.1.0', info }))))

  const folder = createRequire(import.meta.url)
    .resolve('swagger-ui-dist/package.json')
    .replace('package.json', '')
  for (const [file, type] of Object.entries(assets)) {
    api.get(
      ...named(`/docs/${file}`, async (c) =>
        c.body(await readFile(join(folder, file)), 200, {
          'Content-Type': type,
          'Cache-Control': 'public, max-age=86400',
        }),
      ),
    )
  }
  api.get(
    ...named('/docs', (c) =>
      c.html(
        html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <title>${info.title}</title>
          <link rel="stylesheet" href="/docs/swagger-ui.css" />
        </head>
        <body>
          <div id="reference"></div>
          <script src="/docs/swagger-ui-bundle.js"></script>
          <script>${raw(script)}</script>
        </body>
      </html>`,
        200,
        { 'Content-Security-Policy': pagePolicy },
      ),
    ),
  )
}
