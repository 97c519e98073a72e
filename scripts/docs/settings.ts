// The settings in docs/settings.md, from src/env.ts: `node scripts/docs/settings.ts` writes the table between the
// markers; with `--check` it writes nothing, and exits 1 when the table there is not what it would write.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeEnv } from '../../src/env.ts'

const BEGIN = '<!-- settings: made by npm run docs:settings -->'
const END = '<!-- settings end -->'
const file = join(import.meta.dirname, '../../docs/settings.md')

const HEAD = `# Settings

Every setting is an environment variable, read and checked at the start: what is wrong is told all at once, by name and
without the value. An empty variable counts as unset.
`

/** The table in Markdown. @throws Error naming the settings without a meaning */
function table(): string {
  const settings = describeEnv()
  const mute = settings.filter(({ meaning }) => meaning === '').map(({ name }) => name)
  if (mute.length > 0) throw new Error(`settings without .describe(): ${mute.join(', ')}`)
  const cell = (text: string) => text.replaceAll('|', '\\|')
  const rows = settings.map(({ name, fallback, meaning, required }) => {
    const value = required ? 'required' : fallback === '' ? '' : `\`${cell(fallback)}\``
    return `| \`${name}\` | ${value} | ${cell(meaning)} |`.replace('|  |', '| |')
  })
  return ['| setting | default | meaning |', '| --- | --- | --- |', ...rows].join('\n')
}

/** The file with its table made anew; a file that is not there yet begins with the heading. */
function document(): string {
  const old = readOld() ?? `${HEAD}\n${BEGIN}\n${END}\n`
  const [begin, end] = [old.indexOf(BEGIN), old.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`docs/settings.md lacks the markers ${BEGIN} and ${END}`)
  return `${old.slice(0, begin + BEGIN.length)}\n\n${table()}\n\n${old.slice(end)}`
}

function readOld(): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

try {
  const wanted = document()
  if (!process.argv.includes('--check')) writeFileSync(file, wanted)
  else if (readOld() !== wanted) throw new Error('docs/settings.md is out of date: npm run docs:settings')
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
