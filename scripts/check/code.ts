import { closing, indexes, perFile, type Rule, split } from './source.ts'

const inSrc = (path: string) => path.startsWith('src/') && path.endsWith('.ts')
const isTypeScript = (path: string) => /\.[cm]?tsx?$/.test(path)

/** Settings are read, checked and named in one place. */
export const envOnlyInEnv: Rule = perFile(
  'env-reader',
  'read the setting from src/env.ts, the only reader of the environment',
  (path) => inSrc(path) && path !== 'src/env.ts',
  ({ text }) => {
    const { code, comment } = split(text)
    const direct = indexes(code, /\bprocess\s*\??\.\s*env\b|\{[^{}]*\benv\b[^{}]*\}\s*=\s*process\b/g)
    const roundabout = indexes(
      text,
      /\bprocess\s*\[\s*['"`]env['"`]|\{[^{}]*\benv\b[^{}]*\}\s*from\s*['"](?:node:)?process['"]/g,
    )
    return [...direct, ...roundabout.filter((index) => code[index] !== ' ' && comment[index] === ' ')]
  },
)

/** A Redis key with its hash tag (`name:{tag}`) is spelled in one file, so that a rename cannot miss a place. */
export const keysOnlyInKeys: Rule = perFile(
  'redis-key',
  'build the key with a function of src/redis/keys.ts',
  (path) => inSrc(path) && path !== 'src/redis/keys.ts',
  ({ text }) => {
    const { literal } = split(text)
    return indexes(text, /(?<=[\w}-]):\{/g).filter((index) => literal[index] === ':')
  },
)

/** An error that is swallowed is swallowed for a reason, and the reason stands there as a comment. */
export const noEmptyCatch: Rule = perFile(
  'empty-catch',
  'handle the error, or say in a comment inside the block why it does not matter',
  isTypeScript,
  ({ text }) =>
    [
      ...split(text).code.matchAll(
        /\bcatch\s*(?:\([^()]*\)\s*)?(\{\s*\})|\.catch\(\s*(?:async\s*)?\([^()]*\)\s*=>\s*(\{\s*\})/dg,
      ),
    ]
      .map((match): [number, number] => match.indices?.[1] ?? match.indices?.[2] ?? [0, 0])
      .filter(([start, end]) => /^\{\s*\}$/.test(text.slice(start, end)))
      .map(([start]) => start),
)

/** `@ts-expect-error` remains: it fails when the error is gone. */
export const noTypeSilencing: Rule = perFile(
  'type-silencing',
  'fix the type, or use @ts-expect-error with the reason',
  isTypeScript,
  ({ text }) => indexes(split(text).comment, /@ts-(?:ignore|nocheck)\b/g),
)

const EXPORTED_FUNCTION =
  /^export\s+(?:default\s+)?(?:(?:async\s+)?function\b[\s*]*(\w*)|const\s+(\w+)\s*(?::[^=\n]+)?=\s*(?:async\s*)?(?:<[^()=]*>\s*)?(\(|function\b))/gm

/** An exported function says shapes, units and errors above itself; of overloads the first one does. */
export const exportsAreDocumented: Rule = perFile(
  'doc-comment',
  'put a /** */ comment directly above: what it returns, units, errors',
  inSrc,
  ({ text }) => {
    const { code } = split(text)
    const seen = new Set<string>()
    const missing: number[] = []
    for (const match of code.matchAll(EXPORTED_FUNCTION)) {
      if (match[3] === '(') {
        const end = closing(code, match.index + match[0].length - 1)
        if (!/^\s*(?:=>|:)/.test(code.slice(end + 1))) continue
      }
      const name = match[1] || match[2] || 'default'
      if (seen.has(name)) continue
      seen.add(name)
      const above = text.slice(0, match.index).replace(/(?:^[ \t]*\/\/.*\n)+$/m, '')
      const comment = above.slice(above.lastIndexOf('/*'))
      if (!/^\/\*\*(?!\/)[\s\S]*?\*\/[ \t]*\n[ \t]*$/.test(comment)) missing.push(match.index)
    }
    return missing
  },
)
