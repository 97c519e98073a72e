import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import DataLoader from 'dataloader'
import type { Context, TypedResponse } from 'hono'
import { Overdue } from '../db/failure.ts'
import {
  type Answer,
  type CallId,
  callsParameter,
  type IdempotentCall,
  judgeKept,
  type KeptAnswer,
  nameOf,
  type Replay,
  selectKept,
} from '../db/idempotency.ts'
import type { Deps } from '../deps.ts'
import { type Refusal, refuse } from '../errors.ts'
import { createClaims, type EndClaim } from './claims.ts'
import type { HttpEnv } from './frame.ts'
import { invalid, problem, problemAnswer, send } from './problem.ts'

/** How long a repeat waits for the first call before it is told that this is still running, ms. */
const patienceMs = 3000
const betweenClaimsMs = 20
/** Deadlines of Postgres that a COMMIT which has passed its own is given to end, on the side of the server. */
const overdueTimes = 2
const keysPerRead = 500
const printable = /^[\x20-\x7e]{1,255}$/

export interface IdempotentWrite<Effect extends object> {
  userId: number
  /** as validated */
  body: unknown
  /** Does it, and keeps the answer of `call` in the transaction of the effect, if there is an effect. */
  run(call: IdempotentCall<Effect | Refusal> | undefined): Promise<Effect | Refusal | Replay>
  /** the answer to an effect */
  render(effect: Effect): Answer
}

/** An answer whose type is settled at run time: it fits any route. */
type AnyTypedResponse = Response & TypedResponse<never, never, never>

export interface Idempotency {
  /**
   * Answers a write that takes an Idempotency-Key (ALL-2). A repeat with the same body gets the kept answer, with
   * another body 422; one that comes while the first is running waits for it, and 409 if that takes too long.
   */
  answer<Effect extends object>(
    c: Context<HttpEnv>,
    write: IdempotentWrite<Effect>,
  ): Promise<AnyTypedResponse>
}

/**
 * Makes the handling of Idempotency-Key. What is kept is in Postgres, and its primary key is what makes an effect happen
 * once. That a repeat waits for the first call, here or in another process, only gives it the better answer.
 */
export function createIdempotency(
  deps: Pick<Deps, 'env' | 'db' | 'redis' | 'now' | 'newId' | 'log'>,
): Idempotency {
  const { env, db, now } = deps
  const claim = createClaims(deps)
  /** calls under way in this process, by name; each resolves when it has ended, however */
  const running = new Map<string, Promise<void>>()
  /** Reads of one turn of the event loop go out as one statement. */
  const kept = new DataLoader<CallId, KeptAnswer | undefined>(
    async (calls) => {
      const rows = await db.execute<KeptAnswer & Record<string, unknown>>(
        selectKept(callsParameter([...calls])),
      )
      const byName = new Map(rows.map((row) => [nameOf(row), row]))
      return calls.map((call) => byName.get(nameOf(call)))
    },
    { cache: false, maxBatchSize: keysPerRead, batchScheduleFn: setImmediate },
  )

  async function answer<Effect extends object>(
    c: Context<HttpEnv>,
    write: IdempotentWrite<Effect>,
  ): Promise<Response> {
    const render = (outcome: Effect | Refusal): Answer =>
      'refused' in outcome ? problemAnswer(c, outcome) : write.render(outcome)
    const respond = (outcome: Effect | Refusal | Replay): Response =>
      'replay' in outcome
        ? send(c, outcome.replay, { 'Idempotent-Replayed': 'true' })
        : send(c, render(outcome))

    const key = c.req.header('idempotency-key')
    if (key === undefined) return respond(await write.run(undefined))
    if (!printable.test(key)) {
      return invalid(c, [{ path: 'Idempotency-Key', message: 'must be 1 to 255 printable characters' }])
    }
    const call: IdempotentCall<Effect | Refusal> = {
      userId: write.userId,
      // An id in the path may be in upper case. What of a path is not a parameter is in lower case.
      route: `${c.req.method} ${c.req.path.toLowerCase()}`,
      key,
      fingerprint: createHash('sha256').update(JSON.stringify(write.body)).digest('base64url'),
      render,
    }
    const name = nameOf(call)
    const giveUpAt = now() + patienceMs
    for (let first = running.get(name); first; first = running.get(name)) {
      const left = giveUpAt - now()
      if (left <= 0) return problem(c, refuse('IDEMPOTENCY_IN_PROGRESS'))
      await Promise.race([first, pause(left)])
    }
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    running.set(name, ended)
    let endClaim: EndClaim | undefined
    let leftForMs = 0
    try {
      for (;;) {
        endClaim = await claim(name)
        if (endClaim || now() >= giveUpAt) break
        await pause(betweenClaimsMs)
      }
      const row = await kept.load(call)
      if (row) return respond(judgeKept(row, call.fingerprint))
      return endClaim ? respond(await write.run(call)) : problem(c, refuse('IDEMPOTENCY_IN_PROGRESS'))
    } catch (error) {
      // Its COMMIT may still go through. A repeat that is refused meanwhile, as the units that it wants are those of the
      // first call, would be told that nothing was done.
      if (error instanceof Overdue) leftForMs = overdueTimes * env.DATABASE_TIMEOUT_MS
      throw error
    } finally {
      endClaim?.(leftForMs)
      running.delete(name)
      end()
    }
  }

  return { answer: answer as Idempotency['answer'] }
}
