import { createGroupCommit, type GroupCommit, type GroupCommitOptions } from '../commit/group-commit.ts'
import type { CommitKind, Metrics } from './metrics.ts'
import type { Tracing } from './tracing.ts'

/** Starts a group commit whose batches are measured, and traced as `<kind>.commit` and `<kind>.settle`. */
export function createObservedCommit<Member extends object, Outcome>(
  kind: CommitKind,
  options: GroupCommitOptions<Member, Outcome>,
  { metrics, tracing }: { metrics: Metrics; tracing: Tracing },
): GroupCommit<Member, Outcome> {
  const { settle } = options
  const commit = createGroupCommit<Member, Outcome>({
    ...options,
    onBatch: metrics.batches(kind),
    ...(tracing.isOn && {
      commit: (members: Member[]) => tracing.batch(`${kind}.commit`, members, () => options.commit(members)),
    }),
    ...(tracing.isOn &&
      settle && {
        settle: (members: Member[], results: Parameters<typeof settle>[1]) =>
          tracing.batch(`${kind}.settle`, members, () => settle(members, results)),
      }),
  })
  metrics.watchCommit(kind, commit.stats, options.maxQueue)
  if (!tracing.isOn) return commit
  return {
    ...commit,
    reserve() {
      const place = commit.reserve()
      return place && { ...place, submit: (member) => place.submit(tracing.member(member)) }
    },
  }
}
