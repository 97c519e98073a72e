import { DOMAINS, lineAt, type Rule, type SourceFile, type Violation } from './source.ts'
import { idsOf, titlesOf } from './titles.ts'

const COUNTS = { BAL: 7, PRD: 7, CPN: 8, ORD: 7, ALL: 4 }
const IDS = new Set(
  Object.entries(COUNTS).flatMap(([area, count]) =>
    Array.from({ length: count }, (_, at) => `${area}-${at + 1}`),
  ),
)
const FOLDERS = [...DOMAINS, 'race', 'fault', 'model', 'contract']
const MAP = 'docs/requirements.md'

const inScope = ({ path }: SourceFile) =>
  path.endsWith('.test.ts') && path.split('/')[0] === 'test' && FOLDERS.includes(path.split('/')[1] ?? '')

/** A test of behaviour says which requirement it shows: `[CPN-3]` or `[ALL-1, CPN-3]` opens its title. */
export const titlesNameRequirements: Rule = (files) =>
  files.filter(inScope).flatMap((file) =>
    titlesOf(file).flatMap(({ text, index }): Violation[] => {
      const ids = idsOf(text)
      const unknown = ids.filter((id) => !IDS.has(id))
      if (ids.length > 0 && unknown.length === 0) return []
      const advice =
        ids.length === 0
          ? 'open the title with the requirement it shows, such as [CPN-3] or [ALL-1, CPN-3]'
          : `there is no requirement ${unknown.join(', ')}`
      return [{ path: file.path, line: lineAt(file.text, index), rule: 'test-requirement', advice }]
    }),
  )

/** docs/requirements.md names each id that a test shows, and only files that are there. */
export const requirementsMapHolds: Rule = (files) => {
  const map = files.find(({ path }) => path === MAP)
  if (!map) return []
  const used = new Set(
    files
      .filter(inScope)
      .flatMap(titlesOf)
      .flatMap(({ text }) => idsOf(text)),
  )
  const named = new Set(map.text.match(/\b[A-Z]{3}-\d+\b/g))
  const violation = (index: number, advice: string) => ({
    path: MAP,
    line: lineAt(map.text, index),
    rule: 'requirements-map',
    advice,
  })
  const unnamed = [...used].filter((id) => IDS.has(id) && !named.has(id))
  const paths = map.text.matchAll(/(?<![\w/-])(?:src|lua|scripts|test|docs|ops)\/[\w./-]+\.\w+(?![\w*])/g)
  const missing = [...paths].filter(([path]) => !files.some((file) => file.path === path))
  return [
    ...unnamed.map((id) => violation(0, `name ${id}: a test shows it`)),
    ...missing.map((match) => violation(match.index, `there is no file ${match[0]}`)),
  ]
}
