// The tests of each requirement in docs/requirements.md, from their titles: see keepTable.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { idsOf, titlesOf } from '../check/titles.ts'
import { keepTable } from './table.ts'

const root = join(import.meta.dirname, '../..')

const head = `# Requirements and their tests

Each id of the requirements and the tests that prove it. Test names begin with the ids in brackets, so
\`npm test -- -t CPN-3\` runs what concerns one.
`

/** What each is about, in a few words. */
const about = {
  'BAL-1': 'one balance a user: charge, use, refund',
  'BAL-2': 'amounts are positive integers',
  'BAL-3': 'a charge is at least 10,000',
  'BAL-4': 'a balance stays below 10,000,000',
  'BAL-5': 'an entry for every change; entries add up',
  'BAL-6': 'optimistic lock, bounded retry, then a conflict',
  'BAL-7': 'charge and query by user id',
  'PRD-1': 'products with id, name, price, stock',
  'PRD-2': 'the stock shown is exact',
  'PRD-3': 'price above zero',
  'PRD-4': 'stock falls with a payment, never below zero',
  'PRD-5': 'pessimistic lock on stock',
  'PRD-6': 'top five of three days',
  'PRD-7': 'the midnight snapshot',
  'CPN-1': "issuance, first come, first served; a user's coupons",
  'CPN-2': "a policy's quantity, window, discount, validity",
  'CPN-3': 'never more than the total, one a user and policy',
  'CPN-4': 'pessimistic lock on the issued count',
  'CPN-5': 'AVAILABLE, USED, EXPIRED, CANCELED',
  'CPN-6': 'past its expiry a coupon is EXPIRED, whatever is stored',
  'CPN-7': 'one coupon an order, on its total',
  'CPN-8': 'the final amount is above zero',
  'ORD-1': 'one call orders and pays',
  'ORD-2': 'all lines are reserved or none',
  'ORD-3': 'payment from the balance',
  'ORD-4': 'everything in one transaction',
  'ORD-5': 'a payment refused for lack of balance is FAILED',
  'ORD-6': 'a paid order is cancelled once',
  'ORD-7': 'every paid or cancelled order reaches the data platform',
  'ALL-1': 'a 2xx answer is committed in Postgres',
  'ALL-2': 'a repeat has no second effect',
  'ALL-3': 'a refusal has a code and changes nothing',
  'ALL-4': 'Redis lost, emptied, restarted',
}

/** Paths of the test files that show a requirement, by its id. */
function filesById(): Map<string, string[]> {
  const shown = new Map<string, Set<string>>()
  for (const path of globSync('test/**/*.test.ts', { cwd: root }).sort()) {
    const text = readFileSync(join(root, path), 'utf8')
    for (const id of titlesOf({ path, text }).flatMap((title) => idsOf(title.text))) {
      shown.set(id, (shown.get(id) ?? new Set()).add(path))
    }
  }
  return new Map([...shown].map(([id, paths]) => [id, [...paths]]))
}

keepTable(() => {
  const shown = filesById()
  const unproved = Object.keys(about).filter((id) => !shown.has(id))
  if (unproved.length > 0) throw new Error(`no test shows ${unproved.join(', ')}`)
  return {
    file: 'docs/requirements.md',
    name: 'requirements',
    command: 'npm run docs:requirements',
    head,
    columns: ['id', 'what', 'tests'],
    rows: Object.entries(about).map(([id, what]) => [
      id,
      what,
      (shown.get(id) ?? []).map((path) => `\`${path}\``).join(', '),
    ]),
  }
})
