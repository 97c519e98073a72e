// The scripts in lua/README.md, from their headers: see keepTable.
import { readScripts } from '../../src/redis/script-source.ts'
import { keepTable } from './table.ts'

const head = `# Lua scripts

One file an atomic operation, named \`<domain>.<verb>.lua\`. Each header names every key, argument and outcome; header and
code are held against each other at start (\`src/redis/script-source.ts\`), and typed in \`src/redis/\`. Start with
[coupon.issue.lua](coupon.issue.lua).
`

/** The first sentence of a header, in one line. */
function aboutOf(lua: string, name: string): string {
  const header = lua.slice(0, lua.search(/\n(?!--)/)).replaceAll('\n-- ', ' ')
  return (/^-- [\w.]+: (.*?)\.(?: |\n|$)/.exec(header)?.[1] ?? '').trim() || name
}

keepTable(() => ({
  file: 'lua/README.md',
  name: 'scripts',
  command: 'npm run docs:lua',
  head,
  columns: ['script', 'what', 'keys', 'outcomes'],
  rows: readScripts().map(({ name, lua, keys, variableKeys, outcomes }) => [
    `[${name}](${name}.lua)`,
    aboutOf(lua, name),
    keys.map((key, index) => (variableKeys && index === keys.length - 1 ? `${key}…` : key)).join(', '),
    outcomes.map((outcome, number) => `${number} ${outcome}`).join(', '),
  ]),
}))
