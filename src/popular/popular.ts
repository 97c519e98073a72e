import type { Sale } from '../redis/sales-scripts.ts'

/** How many products the ranking has, and over how many days (PRD-6). */
export const places = 5
export const windowDays = 3

const dayMs = 86_400_000
/** Asia/Seoul is UTC+9 all year. */
const seoulOffsetMs = 9 * 3_600_000

/** The date in Asia/Seoul at a point in time, yyyy-mm-dd. */
export function seoulDate(atMs: number): string {
  return new Date(atMs + seoulOffsetMs).toISOString().slice(0, 10)
}

/** The midnight in Asia/Seoul at which a date begins, ms. */
export function midnightOf(date: string): number {
  return Date.parse(`${date}T00:00:00Z`) - seoulOffsetMs
}

/** The date `days` after a date; before it when negative. */
export function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * dayMs).toISOString().slice(0, 10)
}

/** The dates of a ranking that ends with `to`, oldest first. */
export function windowUpTo(to: string): string[] {
  return Array.from({ length: windowDays }, (_, index) => addDays(to, index - windowDays + 1))
}

/** A date as the keys of Redis spell it. */
export function compact(date: string): string {
  return date.replaceAll('-', '')
}

/** The reverse of `compact`. */
export function dashed(day: string): string {
  return `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}`
}

/** The best sold: most first, of equals the lower product id. */
export function rank(sales: Sale[]): Sale[] {
  return sales.toSorted((a, b) => b.quantity - a.quantity || a.productId - b.productId).slice(0, places)
}
