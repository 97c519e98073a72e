/** `npm run audit`: holds the data of both stores against the rules of the business. */
import { parseArgs, styleText } from 'node:util'
import type { RuleVerdict, Verdict } from '../src/audit/verdict.ts'
import { plainMessage } from './embedded/setup-error.ts'
import { exitCodeOf, UsageError } from './exit-code.ts'
import { withDomains } from './store-tool.ts'

const HELP = `Usage: npm run audit [-- options]

  --repair   put right in Redis what Postgres tells otherwise, and list each change; Postgres is never changed
  --json     print the verdict as JSON
  --help     print this

Safe while the service runs: what is under way breaks no rule. DATABASE_URL and REDIS_URL name the stores; unset, those
of npm start are used. Set STOCK_SHARDS and OUTBOX_KEEP_HOURS as for the service.
Exit code: 0 no rule is broken (with --repair: none is any more), 1 a rule is broken, 2 wrong usage or a store is out
of reach.
`
/** Violations and changes of a kind that the table shows; --json shows more. */
const SHOWN = 5

function readArguments(args: string[]): { repair: boolean; json: boolean; help: boolean } {
  try {
    const { values } = parseArgs({
      args,
      options: {
        repair: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    return values
  } catch (error) {
    throw new UsageError(plainMessage(error))
  }
}

function table(verdict: Verdict): string {
  const header = ['rule', 'looked', 'skipped', 'violated']
  const cells = verdict.rules.map(({ rule, looked, skipped, violated }) => [
    rule,
    ...[looked, skipped, violated].map((count) => count.toLocaleString('en')),
  ])
  const widths = header.map((_, column) =>
    Math.max(...[header, ...cells].map((row) => (row[column] as string).length)),
  )
  const line = (row: string[]) =>
    row
      .map((text, column) =>
        column === 0 ? text.padEnd(widths[column] as number) : text.padStart(widths[column] as number),
      )
      .join('  ')
  const rows = verdict.rules.flatMap((rule, index) => [
    `${mark(rule)} ${line(cells[index] as string[])}`,
    ...details(rule),
  ])
  return [`  ${line(header)}`, ...rows, ...changesOf(verdict), '', summary(verdict)].join('\n')
}

const mark = ({ violated }: RuleVerdict) => (violated === 0 ? styleText('green', '✓') : styleText('red', '✗'))

function details({ about, violated, violations }: RuleVerdict): string[] {
  if (violated === 0) return []
  const shown = violations.slice(0, SHOWN).map((violation) => `      ${JSON.stringify(violation)}`)
  const more = violated - shown.length
  return [`    must hold: ${about}`, ...shown, ...(more > 0 ? [`      and ${more} more`] : [])]
}

function changesOf({ changes }: Verdict): string[] {
  if (changes.length === 0) return []
  return [
    '',
    'changed in Redis:',
    ...changes.map(({ what, key, from, to }) => `  ${what}  ${key}: ${from ?? 'none'} → ${to ?? 'none'}`),
  ]
}

function summary({ ok, rules, changes }: Verdict): string {
  const broken = rules.filter(({ violated }) => violated > 0).length
  const repaired = changes.length > 0 ? `, ${changes.length} changes made in Redis` : ''
  return ok
    ? `All ${rules.length} rules hold${repaired}.`
    : `${broken} of ${rules.length} rules broken${repaired}.`
}

process.exitCode = await exitCodeOf('audit', HELP, async () => {
  const { repair, json, help } = readArguments(process.argv.slice(2))
  if (help) {
    process.stdout.write(HELP)
    return 0
  }
  const verdict = await withDomains(({ audit }) => audit.run({ repair }))
  console.log(json ? JSON.stringify(verdict, null, 2) : table(verdict))
  return verdict.ok ? 0 : 1
})
