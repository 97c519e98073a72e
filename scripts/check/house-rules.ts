// Checks what tsc and biome cannot: `node scripts/check/house-rules.ts`. Prints `path:line rule what to do` for
// each violation and exits 1 if there is any. Each rule is a pure function over the files, tested in test/check.
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import * as code from './code.ts'
import * as containers from './containers.ts'
import * as imports from './imports.ts'
import * as kubernetes from './kubernetes.ts'
import * as requirements from './requirements.ts'
import type { SourceFile } from './source.ts'
import * as tests from './tests.ts'
import * as text from './text.ts'

const root = join(import.meta.dirname, '../..')

/** Committed and new text files of the working tree. */
function listFiles(): SourceFile[] {
  // safe.directory: a clone made by another user is read all the same, as root in a CI container does.
  const args = ['-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const listed = execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  return [...new Set(listed.split('\0'))]
    .filter((path) => path !== '' && statSync(join(root, path), { throwIfNoEntry: false })?.isFile())
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
    .filter((file) => !file.text.includes('\0'))
}

const files = listFiles()
const rules = [code, imports, tests, text, requirements, containers, kubernetes].flatMap((group) =>
  Object.values(group),
)
const violations = rules
  .flatMap((rule) => rule(files))
  .sort((a, b) => a.path.localeCompare(b.path) || a.line - b.line)

for (const { path, line, rule, advice } of violations) console.log(`${path}:${line} ${rule} ${advice}`)
console.log(`house rules: ${rules.length} rules, ${files.length} files, ${violations.length} violations`)
process.exitCode = violations.length > 0 || files.length === 0 ? 1 : 0
