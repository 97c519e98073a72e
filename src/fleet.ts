import type { Role } from './env.ts'
import type { Snapshot } from './telemetry/merge.ts'

/** What the supervisor tells a member of its fleet. */
export type Order =
  /** end gracefully; a member that is `replaced` has a successor which serves already */
  | { type: 'stop'; replaced: boolean }
  /** give your metrics */
  | { type: 'measure'; question: number }
  /** the metrics of all, as text: the answer to `scrape` */
  | { type: 'scraped'; question: number; text: string }

/** What a member tells the supervisor. */
export type Report =
  | { type: 'serving'; port: number | undefined }
  | { type: 'measured'; question: number; metrics: Snapshot }
  | { type: 'scrape'; question: number }

const background = 'background'

/**
 * The members of a fleet by name: so many that serve the API, and where the roles have more than that, one for all of
 * the rest. It is apart, so that neither waits for the other's event loop, or falls with its process.
 */
export function membersOf(roles: Role[], workers: number): string[] {
  const serving = Array.from({ length: workers }, (_, index) => `api-${index + 1}`)
  return roles.some((role) => role !== 'api') ? [...serving, background] : serving
}

/** What a member does, of the roles of all. */
export function rolesOf(member: string, roles: Role[]): Role[] {
  return roles.filter((role) => (role === 'api') === (member !== background))
}
