import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Env } from '../../src/env.ts'
import { type Answer, adminToken, unhurried } from './harness.ts'

const mainFile = join(import.meta.dirname, '../../src/main.ts')
const startDeadlineMs = 120_000

export type ServerProcess = Awaited<ReturnType<typeof startServer>>

/** Starts the program as a process of its own over the given stores, and waits until it serves. */
export async function startServer(
  on: { database: string; redis: string },
  env: Partial<Record<keyof Env, string>> = {},
) {
  const child = spawn(process.execPath, [mainFile], {
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      ADMIN_TOKEN: adminToken,
      ...unhurried,
      DATABASE_URL: on.database,
      REDIS_URL: on.redis,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  const port = await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`the server did not start:\n${lines.join('\n')}`))
    }, startDeadlineMs)
    void exited.then(() => reject(new Error(`the server stopped:\n${lines.join('\n')}`)))
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', (line) => {
        lines.push(line)
        const serving = /"port":(\d+),"msg":"serving"/.exec(line)
        if (!serving) return
        clearTimeout(timer)
        resolve(Number(serving[1]))
      })
    }
  })

  const url = `http://127.0.0.1:${port}`
  return {
    url,
    lines,
    exited,
    /** POSTs JSON. Rejects when the connection breaks. */
    async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
      const response = await fetch(url + path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: JSON.stringify(body),
      })
      return { status: response.status, body: await response.json(), headers: response.headers }
    },
    issue(policyId: number, userId: number) {
      return this.post(`/v1/coupon-policies/${policyId}/issue`, { userId })
    },
    /** Sends the process a signal that does not end it. */
    signal: (name: 'SIGUSR2') => void child.kill(name),
    /** Ends the process: SIGTERM gracefully, SIGKILL at once. Gives how it ended. */
    async kill(signal: 'SIGTERM' | 'SIGKILL') {
      child.kill(signal)
      return exited
    },
  }
}

/** Calls `job` for each item, at most `limit` at a time, and gives the results in order. */
export async function inParallel<Item, Result>(
  items: Item[],
  limit: number,
  job: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length)
  const todo = items.entries()
  const runner = async () => {
    for (const [index, item] of todo) results[index] = await job(item)
  }
  await Promise.all(Array.from({ length: limit }, runner))
  return results
}
