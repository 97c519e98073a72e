import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A script of lua/ with the contract that its header states. */
export interface ScriptSource {
  name: string
  lua: string
  /** names of KEYS in order; with `variableKeys` the last one stands for any number */
  keys: string[]
  variableKeys: boolean
  /** names of the outcomes; the place in the list is the number */
  outcomes: string[]
}

const directory = join(import.meta.dirname, '../../lua')

/** Reads every script of lua/. @throws Error naming the script whose header does not follow the contract */
export function readScripts(): ScriptSource[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.lua'))
    .sort()
    .map((file) => parseScript(file.slice(0, -'.lua'.length), readFileSync(join(directory, file), 'utf8')))
}

/**
 * Reads the header of a script and holds it against the code: the same name, the same KEYS, and outcome numbers that
 * the code defines under the same names. Headers kept by hand rot; this makes a rotten one fail at start.
 */
export function parseScript(name: string, lua: string): ScriptSource {
  const fail = (what: string): never => {
    throw new Error(`lua/${name}.lua: ${what}`)
  }
  const lines = lua.split('\n')
  const end = lines.findIndex((line) => !line.startsWith('--'))
  const header = lines.slice(0, end)
  const code = lines
    .slice(end)
    .map((line) => line.replace(/--.*$/, ''))
    .join('\n')
  if (!header[0]?.startsWith(`-- ${name}: `)) fail(`the header must begin with "-- ${name}: "`)

  const keyLines = header
    .map((line) => /^-- KEYS\[(\d+)(\.\.)?\] +(\S+)/.exec(line))
    .filter((match) => match !== null)
  const keys = keyLines.map((match) => match[3] as string)
  const variableKeys = keyLines.at(-1)?.[2] !== undefined
  keyLines.forEach((match, index) => {
    if (Number(match[1]) !== index + 1) fail(`KEYS[${match[1]}] is out of order in the header`)
    if (match[2] !== undefined && index !== keyLines.length - 1) fail('only the last key may stand for many')
  })
  if (keys.length === 0) fail('the header names no KEYS')
  for (const [, index] of code.matchAll(/KEYS\[(\d+)\]/g)) {
    if (Number(index) > keys.length) fail(`the code uses KEYS[${index}], the header does not name it`)
  }
  keys.forEach((key, index) => {
    const isLast = variableKeys && index === keys.length - 1
    const uses = isLast
      ? [`for i = ${index + 1}, #KEYS`, `unpack(KEYS, ${index + 1})`, `KEYS[${index} + `]
      : [`KEYS[${index + 1}]`]
    const isUsed = uses.some((use) => code.includes(use))
    if (!isUsed) fail(`the code does not use KEYS[${index + 1}] (${key})`)
  })
  const args = header.map((line) => /^-- ARGV\[(\d+)(\.\.)?\] /.exec(line)).filter((match) => match !== null)
  args.forEach((match, index) => {
    if (Number(match[1]) !== index + 1) fail(`ARGV[${match[1]}] is out of order in the header`)
  })
  for (const [, index] of code.matchAll(/ARGV\[(\d+)\]/g)) {
    if (Number(index) > args.length) fail(`the code uses ARGV[${index}], the header does not name it`)
  }

  const outcomeLines = header
    .map((line) => /^-- (\d+) ([A-Z_]+)/.exec(line))
    .filter((match) => match !== null)
  const outcomes = outcomeLines.map((match) => match[2] as string)
  outcomeLines.forEach((match, index) => {
    if (Number(match[1]) !== index) fail(`outcome ${match[1]} is out of order in the header`)
  })
  if (outcomes.length === 0) fail('the header names no outcomes')
  const defined = /^local ([A-Z_, ]+) = ([\d, ]+)$/m.exec(code)
  const names = defined?.[1]?.split(', ') ?? []
  const numbers = defined?.[2]?.split(', ').map(Number) ?? []
  if (names.join() !== outcomes.join() || numbers.join() !== outcomes.map((_, index) => index).join()) {
    fail(`the code must begin with "local ${outcomes.join(', ')} = ${outcomes.map((_, i) => i).join(', ')}"`)
  }
  for (const outcome of outcomes) {
    if (code.split(new RegExp(`\\b${outcome}\\b`)).length < 3)
      fail(`the code never gives the outcome ${outcome}`)
  }
  return { name, lua, keys, variableKeys, outcomes }
}
