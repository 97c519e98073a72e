/** A committed text file; `path` is relative to the repository root, with forward slashes. */
export type SourceFile = { path: string; text: string }
export type Violation = { path: string; line: number; rule: string; advice: string }
export type Rule = (files: SourceFile[]) => Violation[]

/** The folders of src/ that own a part of the business. */
export const DOMAINS = ['balance', 'product', 'coupon', 'order', 'popular', 'outbox', 'audit', 'warm']

const COMMENT = 1
const LITERAL = 2

/**
 * Splits TypeScript into three texts of the same length as the original: `code`, `comment` and `literal` (the
 * inside of strings, templates and regular expressions). What does not belong is blanked, newlines stay, so an
 * index or a line in one is the same in all. TypeScript 7 has no parser to call, and this much is enough.
 */
export function split(text: string): { code: string; comment: string; literal: string } {
  const kinds = new Uint8Array(text.length)
  const openTemplates: number[] = []
  let depth = 0
  let at = 0

  const take = (pattern: RegExp): number => {
    const sticky = new RegExp(pattern, 'y')
    sticky.lastIndex = at
    return sticky.exec(text)?.[0].length ?? 0
  }
  const mark = (kind: number, length: number) => {
    kinds.fill(kind, at, at + length)
    at += length
  }
  const template = () => {
    at++
    mark(LITERAL, take(/(?:[^`\\$]|\\[\s\S]|\$(?!\{))*/))
    if (text[at] !== '$') return void at++
    openTemplates.push(depth)
    at += 2
  }
  const regexMayStart = (): boolean => {
    let before = at - 1
    while (before >= 0 && (kinds[before] === COMMENT || /\s/.test(text[before] ?? ''))) before--
    const head = text.slice(Math.max(0, before - 12), before + 1)
    return !/[\w$)\]}'"`]$/.test(head) || /\b(return|typeof|case|in|of|void|throw|await|yield)$/.test(head)
  }

  while (at < text.length) {
    const char = text[at]
    const comment = take(at === 0 ? /#!.*|\/\/.*|\/\*[\s\S]*?(?:\*\/|$)/ : /\/\/.*|\/\*[\s\S]*?(?:\*\/|$)/)
    if (comment > 0) mark(COMMENT, comment)
    else if (char === "'" || char === '"') {
      const length = take(char === "'" ? /'(?:[^'\\\n]|\\[\s\S])*'?/ : /"(?:[^"\\\n]|\\[\s\S])*"?/)
      at++
      mark(LITERAL, Math.max(0, length - 2))
      at++
    } else if (char === '`') template()
    else if (char === '}' && openTemplates.at(-1) === depth) {
      openTemplates.pop()
      template()
    } else if (char === '/' && regexMayStart()) {
      const length = take(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/)
      mark(LITERAL, Math.max(1, length))
    } else {
      if (char === '{') depth++
      if (char === '}') depth--
      at++
    }
  }

  const only = (kind: number) => text.replace(/[^\n]/g, (char, index) => (kinds[index] === kind ? char : ' '))
  return { code: only(0), comment: only(COMMENT), literal: only(LITERAL) }
}

/** The 1-based line of a 0-based index. */
export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length
}

/** Index of the bracket that closes the one at `open`, in text without comments and literals; -1 if none. */
export function closing(code: string, open: number): number {
  let depth = 0
  for (let index = open; index < code.length; index++) {
    if ('([{'.includes(code[index] ?? '')) depth++
    else if (')]}'.includes(code[index] ?? '') && --depth === 0) return index
  }
  return -1
}

/** A rule that looks at one file at a time; `find` returns an index for each violation. */
export function perFile(
  rule: string,
  advice: string,
  applies: (path: string) => boolean,
  find: (file: SourceFile) => number[],
): Rule {
  return (files) =>
    files
      .filter((file) => applies(file.path))
      .flatMap((file) =>
        find(file).map((index) => ({ path: file.path, line: lineAt(file.text, index), rule, advice })),
      )
}

/** Where the pattern (with the g flag) matches. */
export function indexes(text: string, pattern: RegExp): number[] {
  return [...text.matchAll(pattern)].map((match) => match.index)
}
