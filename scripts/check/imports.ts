import { posix } from 'node:path'
import { DOMAINS, lineAt, type Rule, type SourceFile, split, type Violation } from './source.ts'

type Import = { from: string; to: string; line: number; typeOnly: boolean }

const STATEMENT =
  /\b(import|export)\s+(type\s+(?!from\b))?(?:[\w*\s{},$]*?\bfrom\s*)?(['"])([^'"\n]+)\3|\bimport\s*\(\s*(['"])([^'"\n]+)\5/g

/** The relative imports, re-exports and dynamic imports of a file, resolved to repository paths. */
function importsOf(file: SourceFile): Import[] {
  const { code } = split(file.text)
  return [...file.text.matchAll(STATEMENT)]
    .filter((match) => code[match.index] !== ' ')
    .map((match) => ({
      specifier: match[4] ?? match[6] ?? '',
      index: match.index,
      typeOnly: Boolean(match[2]),
    }))
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier, index, typeOnly }) => ({
      from: file.path,
      to: posix.join(posix.dirname(file.path), specifier),
      line: lineAt(file.text, index),
      typeOnly,
    }))
}

/** 'top' for a file directly in src/, else its folder; domains are one layer. */
function layerOf(path: string): string {
  const [, folder = '', ...rest] = path.split('/')
  if (rest.length === 0) return 'top'
  return DOMAINS.includes(folder) ? 'domain' : folder
}

const LAYERS = ['top', 'http', 'domain', 'telemetry', 'commit', 'redis', 'db']

/** Why this import goes the wrong way, or undefined. Types count too: they couple as well. */
function objection({ from, to }: Import): string | undefined {
  if (to.endsWith('.json')) return
  if (!to.startsWith('src/')) return 'src must not import from outside src'
  const [source, target] = [layerOf(from), layerOf(to)]
  if (source === 'top') return
  if (/^src\/(app|main)\.ts$/.test(to)) return 'nothing below the top level imports app or main'
  if (source === 'commit') {
    if (target === 'commit' || to === 'src/errors.ts') return
    return 'commit knows nothing of the rest: pass it in (only commit/ and src/errors.ts)'
  }
  if (from.startsWith('src/db/schema/') && target !== 'db') return 'the schema imports only within db'
  if (source === 'telemetry' && target !== 'telemetry' && target !== 'commit')
    return 'telemetry is told what happens: only commit/ is below it'
  if (source === 'redis' || source === 'db') {
    if (target === 'domain' || target === 'http' || to === 'src/deps.ts')
      return `${source} must not import upwards`
    if (target !== source && (target === 'redis' || target === 'db'))
      return 'redis and db do not know each other'
  }
  if (source === 'domain' && target === 'http') {
    const [, domain] = from.split('/')
    if (from !== `src/${domain}/${domain}.routes.ts`)
      return 'of a domain only <domain>.routes.ts imports http'
  }
  return
}

/** http → domain → telemetry → commit, and domain → redis, db; a new folder of src/ gets its place in LAYERS first. */
export const importDirection: Rule = (files) => {
  const sources = files.filter(({ path }) => path.startsWith('src/') && path.endsWith('.ts'))
  return sources.flatMap((file): Violation[] => {
    const violation = { path: file.path, rule: 'import-direction' }
    if (!LAYERS.includes(layerOf(file.path))) {
      return [
        { ...violation, line: 1, advice: 'this folder has no place in LAYERS of scripts/check/imports.ts' },
      ]
    }
    return importsOf(file).flatMap((found) => {
      const why = objection(found)
      return why ? [{ ...violation, line: found.line, advice: `${why} (${found.to})` }] : []
    })
  })
}

/** Each loop of run-time imports is reported once; types alone may point both ways. */
export const noImportCycles: Rule = (files) => {
  const edges = new Map(
    files
      .filter(({ path }) => path.startsWith('src/') && path.endsWith('.ts'))
      .map((file) => [file.path, importsOf(file).filter(({ typeOnly }) => !typeOnly)]),
  )
  const done = new Set<string>()
  const violations: Violation[] = []
  const visit = (path: string, trail: string[]) => {
    for (const { to, line } of edges.get(path) ?? []) {
      const loop = [...trail, path]
      if (loop.includes(to)) {
        const cycle = [...loop.slice(loop.indexOf(to)), to].join(' → ')
        violations.push({ path, line, rule: 'import-cycle', advice: `break the loop ${cycle}` })
      } else if (!done.has(to)) visit(to, loop)
    }
    done.add(path)
  }
  for (const path of edges.keys()) if (!done.has(path)) visit(path, [])
  return violations
}
