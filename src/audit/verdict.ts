/** What breaks a rule: one row or key, with what it is and what it should be. */
export type Violation = Record<string, unknown>

export interface RuleVerdict {
  rule: string
  /** what must hold */
  about: string
  /** rows or keys that were held against the rule */
  looked: number
  /** of these, how many changed at each look, so that nothing can be said of them while the traffic lasts */
  skipped: number
  violated: number
  /** a sample of what breaks the rule, at most `maxShown` */
  violations: Violation[]
}

/** What a repair changed in Redis. */
export interface Change {
  what: string
  key: string
  from: string | number | null
  to: string | number | null
}

export interface Verdict {
  /** no rule is broken; after a repair: none is any more */
  ok: boolean
  at: Date
  rules: RuleVerdict[]
  changes: Change[]
}

/** Violations of a rule that a verdict shows. */
export const maxShown = 20

/** Looks at what changes under the eyes, and the pause between them, ms. */
export const maxLooks = 5
export const betweenLooksMs = 50

/** What one look at Redis found, and how to put it right there. */
export interface RedisLook {
  verdict: RuleVerdict
  repair(): Promise<Change[]>
}

/** A rule about Redis. It may be looked at again after a repair. */
export type RedisRule = () => Promise<RedisLook>

/** Puts the verdict of a rule together. */
export function verdictOf(
  rule: { rule: string; about: string },
  found: { looked: number; skipped?: number; violations: Violation[]; violated?: number },
): RuleVerdict {
  const { looked, skipped = 0, violations, violated = violations.length } = found
  return { ...rule, looked, skipped, violated, violations: violations.slice(0, maxShown) }
}
