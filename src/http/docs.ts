import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { html } from 'hono/html'
import type { Api } from './openapi.ts'

const assets = { 'swagger-ui.css': 'text/css', 'swagger-ui-bundle.js': 'text/javascript' } as const

/** Publishes the OpenAPI document at `/openapi.json` and a reference page at `/docs` that needs no other server. */
export function addDocs(api: Api, info: { title: string; version: string; description: string }): void {
  api.openAPIRegistry.registerComponent('securitySchemes', 'admin', { type: 'http', scheme: 'bearer' })
  api.doc31('/openapi.json', { openapi: '3.1.0', info })

  const folder = createRequire(import.meta.url)
    .resolve('swagger-ui-dist/package.json')
    .replace('package.json', '')
  for (const [file, type] of Object.entries(assets)) {
    api.get(`/docs/${file}`, async (c) =>
      c.body(await readFile(join(folder, file)), 200, {
        'Content-Type': type,
        'Cache-Control': 'public, max-age=86400',
      }),
    )
  }
  api.get('/docs', (c) =>
    c.html(html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <title>${info.title}</title>
          <link rel="stylesheet" href="/docs/swagger-ui.css" />
        </head>
        <body>
          <div id="reference"></div>
          <script src="/docs/swagger-ui-bundle.js"></script>
          <script>
            SwaggerUIBundle({ url: '/openapi.json', dom_id: '#reference', tryItOutEnabled: true })
          </script>
        </body>
      </html>`),
  )
}
