import { buildApp } from '../../src/app.ts'
import { createDomains } from '../../src/domains.ts'
import type { Answer, Harness } from './harness.ts'

/**
 * The service once more, over the stores of the harness, with a gate: nothing is committed, or nothing of stock is
 * settled, before `open` is called. It is how a test holds a request at an instant.
 */
export function gated({ deps }: Harness, step: 'commit' | 'settle') {
  const gate = Promise.withResolvers<void>()
  const { transactions, scripts } = deps
  const held = {
    ...deps,
    transactions:
      step === 'commit'
        ? {
            ...transactions,
            run: ((body) => gate.promise.then(() => transactions.run(body))) as typeof transactions.run,
          }
        : transactions,
    scripts:
      step === 'settle'
        ? {
            ...scripts,
            settleStock: (...args: Parameters<typeof scripts.settleStock>) =>
              gate.promise.then(() => scripts.settleStock(...args)),
          }
        : scripts,
  }
  const app = buildApp(held, () => true, createDomains(held))
  return {
    open: () => gate.resolve(),
    /** POSTs JSON; the answer comes after the gate has been opened. */
    async post(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Answer> {
      const response = await app.request(path, {
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          Authorization: `Bearer ${deps.env.ADMIN_TOKEN}`,
          ...headers,
        },
        body: JSON.stringify(body),
      })
      return { status: response.status, body: await response.json(), headers: response.headers }
    },
  }
}
