import { enableCompileCache, type ResolveFnOutput, registerHooks } from 'node:module'
import { join } from 'node:path'

/**
 * Makes a program of this project load in a third of the time: 0.6 s instead of 2 s. To be imported before all else,
 * by `node --import` or by an import that is awaited first.
 *
 * - Types are stripped and code is compiled once, and kept; where nothing can be written, nothing is kept.
 * - The package.json of drizzle-orm has 180 kB of exports, which Node takes apart anew for each of its hundred files
 *   to learn that it is an ES module, and for each import of it. Both are told to Node here.
 */
const drizzle = 'drizzle-orm'

enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/node'))

const resolved = new Map<string, ResolveFnOutput>()
registerHooks({
  resolve(specifier, context, resolve) {
    const { parentURL } = context
    if (specifier.startsWith('.')) {
      if (!parentURL?.includes(`/node_modules/${drizzle}/`)) return resolve(specifier, context)
      return { url: new URL(specifier, parentURL).href, format: 'module', shortCircuit: true }
    }
    if (!specifier.startsWith(drizzle)) return resolve(specifier, context)
    const found = resolved.get(specifier) ?? resolve(specifier, context)
    resolved.set(specifier, found)
    return { ...found, shortCircuit: true }
  },
})
