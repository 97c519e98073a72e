/**
 * `node scripts/healthcheck.mjs [PATH]`: asks the service in this container (PORT, default 3000) and exits 0 when PATH,
 * /livez by default, answers 200, else 1. In Node, as the image has no curl; and as it runs in every container every
 * few seconds, in plain JavaScript and without fetch, which takes half the time of the same in TypeScript with fetch.
 */
import { get } from 'node:http'

const path = process.argv[2] ?? '/livez'

function fail(why) {
  console.error(`${path} ${why}`)
  process.exit(1)
}

get({ port: process.env.PORT || 3000, host: '127.0.0.1', path, timeout: 8000 }, ({ statusCode }) => {
  if (statusCode !== 200) fail(`answered ${statusCode}`)
  process.exit(0)
})
  .on('timeout', () => fail('is overdue'))
  .on('error', (error) => fail(`does not answer: ${error.message}`))
