import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

const root = join(import.meta.dirname, '../..')
const loading = join(root, 'src/loading.ts')

/** Runs a program of scripts/ with these settings only, to its end. Without `env` nothing names the stores. */
export async function runTool(
  name: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--import', loading, join(root, 'scripts', name), ...args], {
    env: { PATH: process.env.PATH ?? '', DATA_DIR: join(import.meta.dirname, 'no-such-folder'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [[code], stdout, stderr] = await Promise.all([
    once(child, 'close') as Promise<[number | null]>,
    text(child.stdout),
    text(child.stderr),
  ])
  return { code, stdout, stderr }
}
