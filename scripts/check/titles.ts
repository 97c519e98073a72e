import { closing, indexes, type SourceFile, split } from './source.ts'

export type Title = { text: string; index: number }

/** The literal titles of it(…), test(…), it.each(…)(…) and the like. */
export function titlesOf({ text }: SourceFile): Title[] {
  const { code, comment } = split(text)
  return indexes(code, /(?<![\w.$])(?:it|test)(?:\.\w+)*\s*[(`]/g).flatMap((index) => {
    let open = index + (code.slice(index).match(/[(`]/)?.index ?? 0)
    if (/\.(?:each|for|skipIf|runIf)\s*$/.test(code.slice(index, open))) {
      const end = code[open] === '(' ? closing(code, open) : code.indexOf('`', open + 1)
      open = end + 1 + (code.slice(end + 1).match(/^\s*/)?.[0].length ?? 0)
      if (code[open] !== '(') return []
    }
    let start = open + 1
    while (start < text.length && (/\s/.test(text[start] ?? '') || comment[start] !== ' ')) start++
    const quote = text[start] ?? ''
    if (!`'"\``.includes(quote)) return []
    return [{ text: text.slice(start + 1, code.indexOf(quote, start + 1)), index }]
  })
}

/** The requirements that open a title: `[CPN-3] …`, `[ALL-1, CPN-3] …`. */
export const idsOf = (title: string): string[] => title.match(/^\[([^\]]*)\] \S/)?.[1]?.split(', ') ?? []
