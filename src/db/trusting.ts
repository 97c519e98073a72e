import { isRuleBroken } from './failure.ts'

/**
 * Commits what Redis decided as it is (`commit`). Where that breaks a rule of Postgres, nothing of it is there, and
 * `decide` is to find out from locked rows what becomes of each: Redis was wrong, a member is there already, or somebody
 * was faster.
 */
export type Trusting = <Result>(
  commit: () => Promise<Result>,
  decide: () => Promise<Result>,
) => Promise<Result>

/**
 * Makes the way in which batches are committed. With batches of one (`COMMIT_MAX_BATCH=1`) each write is decided from
 * the rows that it has locked, always: that is lock per request as it is commonly written, and what the benchmark holds
 * the service against.
 */
export function createTrusting(maxBatch: number): Trusting {
  if (maxBatch === 1) return (_commit, decide) => decide()
  return async (commit, decide) => {
    try {
      return await commit()
    } catch (error) {
      if (!isRuleBroken(error)) throw error
      return decide()
    }
  }
}
