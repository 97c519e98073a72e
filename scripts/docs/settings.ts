// The settings in docs/settings.md, from src/env.ts: see keepTable.
import { describeEnv } from '../../src/env.ts'
import { keepTable } from './table.ts'

const head = `# Settings

Every setting is an environment variable, read and checked at the start: what is wrong is told all at once, by name and
without the value. An empty variable counts as unset.
`

keepTable(() => {
  const settings = describeEnv()
  const mute = settings.filter(({ meaning }) => meaning === '').map(({ name }) => name)
  if (mute.length > 0) throw new Error(`settings without .describe(): ${mute.join(', ')}`)
  return {
    file: 'docs/settings.md',
    name: 'settings',
    command: 'npm run docs:settings',
    head,
    columns: ['setting', 'default', 'meaning'],
    rows: settings.map(({ name, fallback, meaning, required }) => [
      `\`${name}\``,
      required ? 'required' : fallback && `\`${fallback}\``,
      meaning,
    ]),
  }
})
