import { indexes, perFile, type Rule, type Violation } from './source.ts'

const isOurs = (path: string) => /^(?:src|lua|scripts|test)\//.test(path)

const VAGUE = new Set(['utils', 'helpers', 'common', 'types', 'services', 'repositories', 'misc'])

/** A file is named after its one concept. The layout itself names test/setup/services.ts: the stores of a test. */
export const noVagueNames: Rule = perFile(
  'vague-name',
  'name the file (and its folder) after the one concept it holds',
  (path) => isOurs(path) && path !== 'test/setup/services.ts',
  ({ path }) => (path.split(/[/.]/).some((part) => VAGUE.has(part.toLowerCase())) ? [0] : []),
)

/** A file that can be read in one go: 300 lines, tests 400. */
export const fileSize: Rule = (files) =>
  files
    .filter(({ path }) => isOurs(path) && /\.(?:ts|lua)$/.test(path))
    .flatMap(({ path, text }): Violation[] => {
      const limit = path.startsWith('test/') ? 400 : 300
      const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
      const advice = `${lines} lines: split it by concept to at most ${limit}`
      return lines > limit ? [{ path, line: limit + 1, rule: 'file-size', advice }] : []
    })

// Spelled with classes so that this file passes its own rule. sql.placeholder() is Drizzle's name for a parameter.
const UNFINISHED =
  /\b(?:TOD[O]|FIXM[E]|XX[X])\b|(?<!sql\.)\b[pP]laceholde[r]|\b[nN]ot (?:yet )?implemente[d]\b/g

/** What is committed is finished; what is not is an issue. */
export const noUnfinishedWork: Rule = perFile(
  'unfinished',
  'finish it, or open an issue and remove the marker',
  (path) => /^(?:(?:src|lua|scripts|docs)\/|README)/.test(path),
  ({ text }) => indexes(text, UNFINISHED),
)

/** The same install everywhere and at any time: exact versions only. */
export const exactDependencies: Rule = (files) =>
  files
    .filter(({ path }) => path === 'package.json')
    .flatMap(({ path, text }) => {
      const manifest = JSON.parse(text) as Record<string, Record<string, string> | undefined>
      const wanted = {
        ...manifest.dependencies,
        ...manifest.devDependencies,
        ...manifest.optionalDependencies,
      }
      return Object.entries(wanted)
        .filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.-]+)?$/.test(version))
        .map(([name, version]): Violation => {
          const line = text.slice(0, text.indexOf(`"${name}": "${version}"`)).split('\n').length
          return { path, line, rule: 'exact-version', advice: `pin ${name} (${version}) to one version` }
        })
    })

/** The lock file pins contents by their hash, and leaves to the reader where the packages come from. */
export const lockWithoutAddresses: Rule = perFile(
  'lock-address',
  'remove it: npm install --package-lock-only with omit-lockfile-registry-resolved',
  (path) => path === 'package-lock.json',
  ({ text }) => indexes(text, /"resolved":/g),
)

const REGISTRY =
  /\b(?:registry|npm)\.(?:npmjs|yarnpkg|npmmirror|pkg\.github)\.\w+|https?:\/\/[^\s"'/]*(?:registr[y]|artifactory|verdaccio|nexus)|^\s*(?:@[\w-]+:)?registry\s*=|--registry[ =]/gm

/** Where packages come from is the reader's configuration. */
export const noRegistryAddress: Rule = perFile(
  'registry-address',
  'remove the address: npm takes it from the configuration of the machine',
  () => true,
  ({ text }) => indexes(text, REGISTRY),
)

/** Nothing depends on, or tells of, the machine it was written on. */
export const noMachinePath: Rule = perFile(
  'machine-path',
  'make the path relative, or take it from the environment',
  () => true,
  ({ text }) => indexes(text, /(?<![\w.~$})-])\/(?:(?:root|work)\/|home\/\w)/g),
)
