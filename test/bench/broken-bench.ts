/** A bench whose set-up breaks a rule and leaves a unit for the warm-up: run as a program by bench.run.test.ts. */

import { couponSoldOut } from '../../scripts/bench/coupon-scenarios.ts'
import { addPolicy } from '../../scripts/bench/dataset.ts'
import { readOptions } from '../../scripts/bench/options.ts'
import { compare } from '../../scripts/bench/scenario.ts'
import { bench } from '../../scripts/bench.ts'

const broken = compare({
  ...couponSoldOut,
  async prepare({ data: { sql, warm } }) {
    // Money that nobody has charged.
    await sql`insert into user_balances (user_id, balance, version) values (1, 5000, 1)`
    const policyId = await addPolicy(sql, { total: 11, issued: 10 })
    await warm(policyId)
    return async () => ({ kind: 'issue', policyId, firstUser: 1000 })
  },
})

process.exit(await bench({ ...readOptions(process.argv.slice(2)), scenarios: [broken], isAll: false }))
