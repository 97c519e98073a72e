import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Env } from './env.ts'
import { membersOf, type Order, type Report } from './fleet.ts'
import { createGathering } from './gathering.ts'

/** First and longest pause before a member that died is started again, ms. It doubles with each death in a row. */
const firstRestartMs = 200
const longestRestartMs = 10_000
/** A member that lived for this long did not die in a row, ms. */
const soundAfterMs = 60_000
/** How long a member may take until it serves, ms: the first may have migrations to make. */
const startDeadlineMs = 300_000
/** Over the time that a member gives itself for its end, ms. */
const endMarginMs = 2000

interface Exit {
  code: number | null
  signal: string | null
}

interface Member {
  name: string
  worker: Worker
  startedAt: number
  /** resolves with the port when it serves, with null when it ended before */
  serving: Promise<number | undefined | null>
  exited: Promise<Exit>
}

/**
 * Runs the service as a fleet of processes on one port, until `stop` is aborted: members that die are started again.
 * Gives the exit code: 0 when all ended as they should.
 * @param onRoll registers what is to be done when a rolling restart is asked for; nothing before all serve
 */
export async function supervise(
  env: Env,
  log: Logger,
  stop: AbortSignal,
  onRoll: (roll: () => void) => void,
): Promise<number> {
  const names = membersOf(env.ROLES, env.WORKERS)
  /** who has each name; those that a rolling restart replaces are among the living until they have ended */
  const members = new Map<string, Member>()
  const living = new Set<Member>()
  const gathering = createGathering(() => [...members.values()].map(({ name, worker }) => ({ name, worker })))
  const deaths = new Map<string, number>()
  /** from the beginning, until all serve */
  let isRolling = true

  function start(name: string): Member {
    // Metrics hold values that JSON has no word for.
    cluster.setupPrimary({ args: [name], serialization: 'advanced' })
    const worker = cluster.fork()
    const { promise: serving, resolve } = Promise.withResolvers<number | undefined | null>()
    worker.on('message', (report: Report) => {
      if (report.type === 'serving') resolve(report.port)
      else gathering.hear(name, worker, report)
    })
    const exited = new Promise<Exit>((ended) => {
      worker.once('exit', (code, signal) => ended({ code, signal }))
      worker.on('error', () => {
        // It could not be started. Else, what could not be sent was for a process that is ending.
        if (worker.process.pid === undefined) ended({ code: null, signal: null })
      })
    })
    void exited.then(() => resolve(null))
    const member = { name, worker, startedAt: performance.now(), serving, exited }
    living.add(member)
    void exited.then((exit) => {
      living.delete(member)
      if (members.get(name) !== member || stop.aborted) return
      log.error({ worker: name, pid: worker.process.pid, ...exit }, 'member died')
      void startAgain(member)
    })
    return member
  }

  async function startAgain(dead: Member): Promise<void> {
    const { name } = dead
    const isSound = performance.now() - dead.startedAt > soundAfterMs
    const inARow = isSound ? 0 : (deaths.get(name) ?? 0)
    deaths.set(name, inARow + 1)
    const delayMs = Math.min(firstRestartMs * 2 ** inARow, longestRestartMs)
    await pause(delayMs, undefined, { signal: stop }).catch(() => undefined)
    // A rolling restart may have replaced it meanwhile.
    if (stop.aborted || members.get(name) !== dead) return
    const member = start(name)
    members.set(name, member)
    if (await isServing(member)) log.info({ worker: name, pid: member.worker.process.pid }, 'member is back')
  }

  /** Waits until a member serves. False when it does not within the deadline, and is ended. */
  async function isServing(member: Member): Promise<boolean> {
    const timer = setTimeout(() => member.worker.process.kill('SIGKILL'), startDeadlineMs)
    const port = await member.serving
    clearTimeout(timer)
    return port !== null
  }

  /** Ends a member, by force when it does not end in its time. True when it ended as it should. */
  async function end({ worker, exited }: Member, replaced: boolean): Promise<boolean> {
    const order: Order = { type: 'stop', replaced }
    if (worker.isConnected()) worker.send(order)
    const timer = setTimeout(() => worker.process.kill('SIGKILL'), env.SHUTDOWN_TIMEOUT_MS + endMarginMs)
    const { code } = await exited
    clearTimeout(timer)
    return code === 0
  }

  /** Replaces the members one by one: the next one goes when the successor of the last one serves. */
  async function roll(): Promise<void> {
    if (isRolling || stop.aborted) return
    isRolling = true
    log.info('rolling restart')
    for (const name of names) {
      const successor = start(name)
      if (!(await isServing(successor)) || stop.aborted) {
        if (!stop.aborted)
          log.error({ worker: name }, 'the new member does not serve: the others stay as they are')
        await end(successor, true)
        break
      }
      const old = members.get(name)
      members.set(name, successor)
      if (old) await end(old, true)
      log.info({ worker: name, pid: successor.worker.process.pid }, 'member replaced')
      // Those who are there are being ended, and nobody would end one that is started now.
      if (stop.aborted) break
    }
    isRolling = false
    log.info('rolling restart ended')
  }

  onRoll(() => void roll())
  // The first alone: it brings the database and Redis up to date, and tells what is wrong once instead of by all.
  let port: number | undefined | null
  let isUp = true
  for (const batch of [names.slice(0, 1), names.slice(1)]) {
    const started = batch.map(start)
    for (const member of started) members.set(member.name, member)
    const areServing = await Promise.all(started.map(isServing))
    port ??= await started[0]?.serving
    isUp = areServing.every(Boolean)
    if (!isUp || stop.aborted) break
  }
  if (isUp && !stop.aborted) {
    const pids = Object.fromEntries(
      [...members.values()].map(({ name, worker }) => [name, worker.process.pid]),
    )
    log.info({ roles: env.ROLES, members: pids, port }, 'serving')
    isRolling = false
    await once(stop, 'abort')
  }
  log.info({ signal: stop.reason }, 'stopping all members')
  members.clear()
  const ends = await Promise.all([...living].map((member) => end(member, false)))
  return isUp && ends.every(Boolean) ? 0 : 1
}
