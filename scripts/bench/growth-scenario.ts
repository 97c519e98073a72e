import type { Redis } from 'ioredis'
import { addPolicy, settlePostgres, settleRedis } from './dataset.ts'
import { orderOver } from './order-scenarios.ts'
import type { Bench, Scenario, Target } from './scenario.ts'

const ISSUED = [0, 100_000, 1_000_000]
const PRODUCTS = [10, 10_000]
const PLENTY = 100_000_000
const NEW_USERS = 5_000_001
const USERS_OF_A_RUN = 10_000_000

const count = (value: number) => value.toLocaleString('en')

/** Each size has a service with a database and a Redis database of its own. */
export const growth: Scenario = {
  name: 'growth',
  about: `coupons with ${ISSUED.map(count).join(', ')} issued before; reads and orders with ${PRODUCTS.map(count).join(' and ')} products`,
  async open(bench) {
    const notes: Record<string, number> = {}
    const targets: Target[] = []
    for (const issued of ISSUED) targets.push(await issuing(bench, issued, notes))
    for (const products of PRODUCTS) targets.push(...(await selling(bench, products)))
    const first = (kind: string) => targets.find(({ name }) => name.startsWith(kind))?.name
    return {
      targets: targets
        .map((target) => ({ ...target, against: first(target.name.split(',', 1)[0] ?? '') }))
        .map((target) => ({
          ...target,
          against: target.against === target.name ? undefined : target.against,
        }))
        .toSorted((a, b) => kindOf(a) - kindOf(b)),
      notes,
    }
  },
}

const kinds = ['issue', 'read', 'order']
const kindOf = ({ name }: Target) => kinds.indexOf(name.split(',', 1)[0] ?? '')

async function issuing(bench: Bench, issued: number, notes: Record<string, number>): Promise<Target> {
  const stack = await bench.startService()
  const { sql, redis, warm } = stack.data
  const policyId = await addPolicy(sql, { total: PLENTY, issued })
  await settlePostgres(sql)
  const before = await usedMemory(redis)
  await warm(policyId)
  if (issued > 0) {
    notes[`Redis bytes per coupon, ${count(issued)} issued`] = ((await usedMemory(redis)) - before) / issued
  }
  let runs = 0
  return {
    name: `issue, ${count(issued)} issued`,
    stack,
    expects: ['201'],
    async traffic() {
      await settleRedis(redis)
      return { kind: 'issue', policyId, firstUser: NEW_USERS + USERS_OF_A_RUN * runs++ }
    },
  }
}

async function selling(bench: Bench, products: number): Promise<Target[]> {
  const stack = await bench.startService()
  const orders = await orderOver(products)(stack, bench)
  const name = `${count(products)} products`
  const traffic = await orders()
  const { firstProduct } = traffic.kind === 'order' ? traffic : { firstProduct: 1 }
  return [
    {
      name: `read, ${name}`,
      stack,
      expects: ['200'],
      traffic: async () => ({ kind: 'product', firstProduct, products }),
    },
    { name: `order, ${name}`, stack, expects: ['201'], traffic: orders },
  ]
}

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1])
}
