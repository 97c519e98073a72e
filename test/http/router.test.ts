import fc from 'fast-check'
import type { Result, Router } from 'hono/router'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { SmartRouter } from 'hono/router/smart-router'
import { TrieRouter } from 'hono/router/trie-router'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRouter } from '../../src/http/router.ts'
import { type Harness, startHarness } from '../setup/harness.ts'

const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
console.log(`createRouter seed: TEST_SEED=${seed}`)

let harness: Harness
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

type Route = { method: string; path: string }
const fill = (router: Router<string>, routes: Route[]) => {
  for (const { method, path } of routes) router.add(method, path, `${method} ${path}`)
  return router
}
const honos = () => new SmartRouter<string>({ routers: [new RegExpRouter(), new TrieRouter()] })

/** The handler that runs: of what is found the first, behind middleware; with its parameters by name. */
function found([handlers, stash]: Result<string>) {
  const running = handlers.findIndex(([handler]) => !handler.startsWith('ALL'))
  return handlers
    .slice(0, running < 0 ? undefined : running + 1)
    .map(([handler, params]) => [
      handler,
      Object.fromEntries(
        Object.entries(params).map(([name, value]) => [name, stash ? stash[value as number] : value]),
      ),
    ])
}

/** Holds both routers against each other, for paths that nearly are those of the routes. */
function expectSame(routes: Route[], ours: Router<string>): void {
  const theirs = fill(honos(), routes)
  const segments = [...new Set(routes.flatMap(({ path }) => path.split('/')))].filter(
    (part) => !/[:*]/.test(part),
  )
  const segment = fc.oneof(fc.constantFrom(...segments, '1', 'x', '%41', 'popular'), fc.webSegment())
  const known = fc
    .constantFrom(...routes)
    .chain(({ path }) =>
      fc
        .array(segment, { minLength: 8, maxLength: 8 })
        .map((parts) => path.replaceAll(/:\w+/g, () => parts.shift() ?? '1')),
    )
  const path = fc.oneof(
    { weight: 3, arbitrary: known },
    fc.array(segment, { maxLength: 6 }).map((parts) => `/${parts.join('/')}`),
    known.map((some) => `${some}/`),
  )
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS')
  fc.assert(
    fc.property(method, path, (asked, at) => {
      expect(found(ours.match(asked, at))).toEqual(found(theirs.match(asked, at)))
    }),
    { seed, numRuns: 2000 },
  )
}

describe('the router', () => {
  it('finds the route and the parameters that the router of Hono finds, for all routes of the service', () => {
    const { routes } = harness.app
    expect(routes.length).toBeGreaterThan(20)
    expect(routes.filter(({ method }) => method === 'ALL')).toEqual([])
    expectSame(routes, fill(createRouter(), routes))
  })

  it('runs middleware where it was put: with some, the choice is that of Hono', () => {
    const routes = [{ method: 'ALL', path: '/*' }, ...harness.app.routes]
    expectSame(routes, fill(createRouter(), routes))
  })

  it('refuses at start what it cannot match', () => {
    for (const path of ['/v1/:id', '/:version/products/:id']) {
      expect(() => createRouter<string>().add('GET', path, 'id')).toThrow(path)
    }
    expect(() => createRouter<string>().add('GET', '/v1/files/:name{.+}', 'file')).toThrow(
      '/v1/files/:name{.+}',
    )
  })
})
