import { closing, indexes, type SourceFile, split } from './source.ts'

type Title = { text: string; index: number }

/** The literal titles of it(…), test(…), it.each(…)(…) and the like. */
export function titlesOf({ text }: SourceFile): Title[] {
  const { code, comment } = split(text)
  return indexes(code, /(?<![\w.$])(?:it|test)(?:\.\w+)*\s*[(`<]/g).flatMap((index) => {
    let open = index + code.slice(index).search(/[(`<]/)
    const name = code.slice(index, open)
    if (code[open] === '<') open = behindTypes(code, open)
    if (/\.(?:each|for|skipIf|runIf)\s*$/.test(name)) {
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

/** Index of what follows the type arguments that begin at `open`. */
function behindTypes(code: string, open: number): number {
  let depth = 0
  for (let index = open; index < code.length; index++) {
    if (code[index] === '<') depth++
    if (code[index] === '>' && code[index - 1] !== '=' && --depth === 0) return index + 1
  }
  return -1
}

/** The requirements that open a title: `[CPN-3] …`, `[ALL-1, CPN-3] …`. */
export const idsOf = (title: string): string[] => title.match(/^\[([^\]]*)\] \S/)?.[1]?.split(', ') ?? []
