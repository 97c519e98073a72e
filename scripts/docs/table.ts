import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A table in a Markdown file that is made from the code, between two markers. */
export interface MadeTable {
  /** path from the top of the repository */
  file: string
  /** names the table in its markers */
  name: string
  /** how to make it anew */
  command: string
  /** what a file that is not there yet begins with */
  head: string
  columns: string[]
  /** cells in Markdown */
  rows: string[][]
}

/**
 * Writes the table into its file; with `--check` among the arguments of the process it writes nothing, and sets the exit
 * code 1 when the table there is not what it would write. What stands around the markers is left alone.
 */
export function keepTable(make: () => MadeTable): void {
  try {
    const table = make()
    const path = join(import.meta.dirname, '../..', table.file)
    const old = readIfThere(path)
    const wanted = documentOf(table, old)
    if (!process.argv.includes('--check')) writeFileSync(path, wanted)
    else if (old !== wanted) throw new Error(`${table.file} is out of date: ${table.command}`)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}

function documentOf(
  { file, name, command, head, columns, rows }: MadeTable,
  old: string | undefined,
): string {
  const markers = [`<!-- ${name}: made by ${command} -->`, `<!-- ${name} end -->`] as const
  const text = old ?? `${head}\n${markers.join('\n')}\n`
  const [begin, end] = [text.indexOf(markers[0]), text.indexOf(markers[1])]
  if (begin < 0 || end < begin) throw new Error(`${file} lacks the markers ${markers.join(' and ')}`)
  const lines = [columns, columns.map(() => '---'), ...rows].map((cells) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`.replaceAll('|  |', '| |'),
  )
  return `${text.slice(0, begin + markers[0].length)}\n\n${lines.join('\n')}\n\n${text.slice(end)}`
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
