/** `npm run warm`: loads products and policies into Redis before a sale. */
import { parseArgs } from 'node:util'
import { Presets, SingleBar } from 'cli-progress'
import type { WarmProgress, WarmRequest } from '../src/warm/warm.ts'
import { plainMessage } from './embedded/setup-error.ts'
import { exitCodeOf, UsageError } from './exit-code.ts'
import { withDomains } from './store-tool.ts'

const HELP = `Usage: npm run warm [-- options]

  --policy ID    only this policy, with its holders
  --product ID   only this product
  --missing      only what Redis lacks
  --json         print the summary as JSON
  --help         print this

Safe while the service runs. DATABASE_URL and REDIS_URL name the stores; unset, those of npm start are used. Set
STOCK_SHARDS as for the service.
Exit code: 0 loaded, 1 failed or no such policy or product, 2 wrong usage or a store is out of reach.
`
const FORMAT = '{bar} {percentage}% | {value} of {total} | {eta_formatted} left'

type Options = { request: WarmRequest; json: boolean; help: boolean }

function readArguments(args: string[]): Options {
  let values: Record<string, string | boolean | undefined>
  try {
    ;({ values } = parseArgs({
      args,
      options: {
        policy: { type: 'string' },
        product: { type: 'string' },
        missing: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }))
  } catch (error) {
    throw new UsageError(plainMessage(error))
  }
  const idOf = (option: string): number | undefined => {
    const text = values[option]
    if (text === undefined) return undefined
    const id = Number(text)
    if (Number.isSafeInteger(id) && id > 0) return id
    throw new UsageError(`--${option} must be an id, not "${text}".`)
  }
  return {
    request: { policyId: idOf('policy'), productId: idOf('product'), missingOnly: values.missing === true },
    json: values.json === true,
    help: values.help === true,
  }
}

/** A bar over everything there is to load; only on a terminal. */
function progressBar(): WarmProgress & { stop(): void } {
  if (!process.stderr.isTTY) return { stop: () => undefined }
  const bar = new SingleBar(
    { format: FORMAT, stream: process.stderr, hideCursor: true },
    Presets.shades_classic,
  )
  return {
    onPlan: ({ policies, holders, products }) => bar.start(policies + holders + products, 0),
    onDone: (_, count) => bar.increment(count),
    stop: () => bar.stop(),
  }
}

process.exitCode = await exitCodeOf('warm', HELP, async () => {
  const { request, json, help } = readArguments(process.argv.slice(2))
  if (help) {
    process.stdout.write(HELP)
    return 0
  }
  const outcome = await withDomains(async ({ warm }) => {
    const bar = progressBar()
    return warm(request, bar).finally(() => bar.stop())
  })
  if ('refused' in outcome) {
    const of =
      outcome.refused === 'PRODUCT_NOT_FOUND' ? `product ${request.productId}` : `policy ${request.policyId}`
    console.error(`warm: ${outcome.detail ?? `There is no ${of}.`}`)
    return 1
  }
  const { policies, holders, products, milliseconds } = outcome
  const count = (number: number) => number.toLocaleString('en')
  console.log(
    json
      ? JSON.stringify(outcome, null, 2)
      : `${count(policies)} policies, ${count(holders)} holders, ${count(products)} products in ${(milliseconds / 1000).toFixed(1)} s`,
  )
  return 0
})
