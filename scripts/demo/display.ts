import { clearScreenDown, moveCursor } from 'node:readline'
import { stripVTControlCharacters, styleText } from 'node:util'
import type { Told } from './crowd.ts'

const FRAME_MS = 80
const BAR = 34
const SPARKS = '▁▂▃▄▅▆▇█'
const HISTORY = 40
const LATELY = 12

export type Stage = 'starting' | 'preparing' | 'charging' | 'waiting' | 'selling' | 'judging' | 'over'

/** What is shown; the demo changes it, the display draws it. */
export type Scene = {
  stage: Stage
  /** what happens now */
  step: string
  users: number
  coupons: number
  units: number
  told: Told | undefined
}

export type Display = { say(line: string): void; stop(): void }

const count = (value: number) => value.toLocaleString('en')

/** Draws the scene on a terminal, over and over in place; elsewhere, writes each new step as a line. */
export function showScene(scene: Scene, stream: NodeJS.WriteStream): Display {
  return stream.isTTY ? drawFrames(scene, stream) : writeSteps(scene, stream)
}

function writeSteps(scene: Scene, stream: NodeJS.WriteStream): Display {
  let last = ''
  const look = () => {
    if (scene.step !== last) stream.write(`${scene.step}\n`)
    last = scene.step
  }
  const timer = setInterval(look, FRAME_MS)
  return {
    say: (line) => void stream.write(`${line}\n`),
    stop() {
      clearInterval(timer)
      look()
    },
  }
}

function drawFrames(scene: Scene, stream: NodeJS.WriteStream): Display {
  const startedAt = performance.now()
  const rates: number[] = []
  let lines = 0
  let requests = 0
  let lookedAt = startedAt
  const draw = () => {
    const now = performance.now()
    const sent = scene.told?.requests ?? 0
    rates.push(((sent - requests) * 1000) / Math.max(1, now - lookedAt))
    if (rates.length > HISTORY) rates.shift()
    requests = sent
    lookedAt = now
    const width = Math.max(20, stream.columns - 1)
    const frame = frameOf(scene, (now - startedAt) / 1000, rates).map((line) => cut(line, width))
    moveCursor(stream, 0, -lines)
    clearScreenDown(stream)
    stream.write(`${frame.join('\n')}\n`)
    lines = frame.length
  }
  stream.write('\u001B[?25l')
  draw()
  const timer = setInterval(draw, FRAME_MS)
  return {
    say: (line) => {
      scene.step = line.trim()
    },
    stop() {
      clearInterval(timer)
      draw()
      stream.write('\u001B[?25h')
    },
  }
}

/** The picture, a line at a time. */
export function frameOf(scene: Scene, seconds: number, rates: readonly number[]): string[] {
  const { users, coupons, units, told } = scene
  const title = `${styleText('bold', 'seonchak')} ${styleText('dim', '선착순')}  one flash sale: ${count(users)} users, ${count(coupons)} coupons, ${count(units)} units`
  const clock = styleText('dim', `${seconds.toFixed(1).padStart(5)} s`)
  const step = `${styleText('cyan', scene.stage === 'over' ? '●' : '▸')} ${scene.step}`
  if (!told) return ['', title, '', `${clock}  ${step}`, '']
  return [
    '',
    title,
    '',
    row('ready', told.charged, users, 'blue', `${count(told.charged)} users have charged their balance`),
    row('crowd', told.done, users, 'blue', `${count(told.done)} users have pressed the buttons`),
    row(
      'coupons',
      told.issued,
      coupons,
      'green',
      `${count(told.issued)} issued, ${styleText('yellow', `${count(told.soldOut)} sold out`)}`,
    ),
    row(
      'units',
      told.paid,
      units,
      'green',
      `${count(told.paid)} paid, ${styleText('yellow', `${count(told.tooLate)} too late`)}`,
    ),
    '',
    `  ${'requests'.padEnd(9)}${spark(rates)} ${count(told.requests)} in all, ${count(Math.round(lately(rates)))}/s`,
    '',
    `${clock}  ${step}`,
    '',
  ]
}

function row(name: string, value: number, total: number, color: 'blue' | 'green', text: string): string {
  const full = total === 0 ? 0 : Math.round((Math.min(value, total) / total) * BAR)
  const bar = styleText(color, '█'.repeat(full)) + styleText('dim', '░'.repeat(BAR - full))
  return `  ${name.padEnd(9)}${bar} ${text}`
}

function spark(rates: readonly number[]): string {
  const most = Math.max(1, ...rates)
  const marks = rates.slice(-BAR).map((rate) => SPARKS[Math.round((rate / most) * (SPARKS.length - 1))])
  return styleText('magenta', marks.join('').padStart(BAR))
}

/** Over the last second or so: a single frame says little. */
function lately(rates: readonly number[]): number {
  const last = rates.slice(-LATELY)
  return last.reduce((sum, rate) => sum + rate, 0) / Math.max(1, last.length)
}

/** A line that wraps would make the next frame begin in the wrong place. */
function cut(line: string, width: number): string {
  const text = stripVTControlCharacters(line)
  return text.length <= width ? line : text.slice(0, width)
}
