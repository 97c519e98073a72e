import type { Summary } from './medians.ts'
import { SERVICE } from './scenario.ts'

const ROW = 30
const BAR = 16
const TOP = 76
const LABELS = 128
const PANEL = 300
const GAP = 128
const WIDTH = LABELS + PANEL + GAP + PANEL + 84

/** Readable on white and on black, and by anyone who tells blue from orange. */
const STYLE = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 14px }
  .soft { fill: #59636e; font-size: 12px }
  .bare { fill: #2f6fd0 }
  .lock { fill: #c4631a }
  .track { fill: #818b98; fill-opacity: .18 }
  .line { stroke: #818b98; stroke-opacity: .6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .soft { fill: #9aa4af }
    .bare { fill: #5b9bff }
    .lock { fill: #f0883e }
  }`

/** The rows of the scenarios that have a bar: of the service, and of what it is held against. */
export function drawnBy(summaries: readonly Summary[]): Summary[] {
  const scenarios = new Set(summaries.filter(hasBar).map(({ scenario }) => scenario))
  return summaries.filter(({ scenario }) => scenarios.has(scenario))
}

function hasBar({ target, ofBare }: Summary): boolean {
  return target === SERVICE && ofBare !== undefined
}

/**
 * Draws the service's rate in each scenario as a share of the bare handler's, and as a multiple of lock per request.
 * @param conditions one line below the title
 * @returns an SVG document
 */
export function chart(summaries: readonly Summary[], conditions: string): string {
  const rows = summaries.filter(hasBar)
  const height = TOP + rows.length * ROW + 14
  const most = niceAbove(Math.max(1, ...rows.map(({ ofLock }) => ofLock ?? 0)))
  const right = LABELS + PANEL + GAP
  const parts = [
    `<text class="title" x="0" y="16">Requests answered by the service, every write committed</text>`,
    `<text class="soft" x="0" y="35">${escaped(conditions)}</text>`,
    `<text class="title" x="${LABELS}" y="${TOP - 14}">of the bare handler</text>`,
    `<text class="title" x="${right}" y="${TOP - 14}">times lock per request</text>`,
    ...rows.flatMap((row, index) => drawRow(row, TOP + index * ROW, { most, right })),
    `<path class="line" d="M${LABELS + PANEL} ${TOP - 6}V${height - 10}"/>`,
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>Rate of the service as a share of a bare handler, and as a multiple of lock per request</title>
<style>${STYLE}
</style>
${parts.join('\n')}
</svg>
`
}

function drawRow(row: Summary, top: number, { most, right }: { most: number; right: number }): string[] {
  const { scenario, requestsPerS, ofBare = 0, ofLock } = row
  const middle = top + BAR / 2 + 4.5
  const share = Math.min(1, ofBare) * PANEL
  const rate = `${Math.round(requestsPerS).toLocaleString('en')}/s`
  const label = `${Math.round(ofBare * 100)} %`
  const parts = [
    `<text x="0" y="${middle}">${escaped(scenario)}</text>`,
    bar('track', LABELS, top, PANEL),
    bar('bare', LABELS, top, share),
    // Outside of the panel, so that a long bar does not cover it.
    `<text x="${LABELS + PANEL + 8}" y="${middle}">${label} <tspan class="soft">${rate}</tspan></text>`,
  ]
  if (ofLock === undefined) return parts
  const length = (ofLock / most) * PANEL
  return [
    ...parts,
    bar('track', right, top, PANEL),
    bar('lock', right, top, length),
    `<text x="${right + PANEL + 8}" y="${middle}">${ofLock.toFixed(ofLock < 10 ? 1 : 0)} ×</text>`,
  ]
}

function bar(name: string, x: number, y: number, width: number): string {
  return `<rect class="${name}" x="${x}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3"/>`
}

/** The next of 1, 2, 5, 10, 20 and so on that is not below the value. */
function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
