/** A bench whose set-up breaks a rule: run as a program by bench.run.test.ts. */

import { couponSoldOut } from '../../scripts/bench/coupon-scenarios.ts'
import { readOptions } from '../../scripts/bench/options.ts'
import { compare } from '../../scripts/bench/scenario.ts'
import { bench } from '../../scripts/bench.ts'

const broken = compare({
  ...couponSoldOut,
  async prepare(stack, options) {
    const traffic = await couponSoldOut.prepare(stack, options)
    // Money that nobody has charged.
    await stack.data.sql`insert into user_balances (user_id, balance, version) values (1, 5000, 1)`
    return traffic
  },
})

process.exit(await bench({ ...readOptions(process.argv.slice(2)), scenarios: [broken], isAll: false }))
