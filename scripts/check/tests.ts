import { closing, indexes, perFile, type Rule, split } from './source.ts'

const isTest = (path: string) => /^test\/.*\.ts$|^vitest\.config\.ts$/.test(path)

/** Every test runs, once, and its first result counts. */
export const everyTestRuns: Rule = perFile(
  'test-switch',
  'no skip, only, todo or retry: fix the test or remove it',
  isTest,
  ({ text }) => indexes(split(text).code, /\.(?:skip|only|todo)\s*[.(]|\bretry\s*:/g),
)

/** The value of `250`, `2_000` or `5 * 1000` in milliseconds; NaN for anything else. */
function literalMs(expression: string): number {
  if (!/^\s*[\d_]+(?:\s*\*\s*[\d_]+)*\s*$/.test(expression)) return Number.NaN
  return expression.split('*').reduce((product, factor) => product * Number(factor.replaceAll('_', '')), 1)
}

/** The arguments of the call whose bracket opens at `open`. */
function argumentsOf(code: string, open: number): string[] {
  const end = closing(code, open)
  const parts = ['']
  for (let index = open + 1, depth = 0; index < end; index++) {
    const char = code[index] ?? ''
    if ('([{'.includes(char)) depth++
    if (')]}'.includes(char)) depth--
    if (char === ',' && depth === 0) parts.push('')
    else parts[parts.length - 1] += char
  }
  return parts
}

/**
 * A test waits for a condition, never for a time of 100 ms or more: it is too short on a slow machine and wasted
 * on a fast one. A timer that fails, aborts or kills is a deadline and allowed.
 */
export const noFixedSleep: Rule = perFile(
  'fixed-sleep',
  'wait until the condition holds (with a deadline), or pass the clock in',
  isTest,
  ({ text }) => {
    const { code } = split(text)
    return indexes(code, /\b(?:setTimeout|sleep|delay)\s*\(/g).filter((index) => {
      const [first = '', second = ''] = argumentsOf(code, code.indexOf('(', index))
      if (/\b(?:reject|abort|throw|kill)\b/.test(first)) return false
      return literalMs(first) >= 100 || literalMs(second) >= 100
    })
  },
)
