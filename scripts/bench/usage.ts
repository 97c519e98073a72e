import { readFileSync } from 'node:fs'
import { childrenOf } from '../embedded/os-process.ts'

/** Ticks of /proc, which Linux fixes at 100 a second for programs whatever its own timer does. */
const TICKS_PER_SECOND = 100
const KIB = 1024

/** CPU seconds since the start of the processes; undefined where there is no /proc. */
export type Usage =
  | { node: number; redis: number; postgres: number; generator: number; machine: number }
  | undefined

export type Pids = { node: number; redis: number; postgres: number; generator: number }

/** User and system time of a process in seconds, with that of its children that have ended. */
function secondsOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND
  } catch {
    return 0 // ended between the listing and the look
  }
}

/** Postgres has a process for each connection. */
function withChildren(pid: number): number[] {
  return [pid, ...childrenOf(pid)]
}

/** What all processors of the machine have spent, waiting aside. */
function machineSeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? ''
  )
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
}

/** Reads how much CPU time the parts of a run have used so far. */
export function readUsage({ node, redis, postgres, generator }: Pids): Usage {
  if (process.platform !== 'linux') return undefined
  return {
    node: secondsOf(node),
    redis: secondsOf(redis),
    postgres: withChildren(postgres).reduce((sum, pid) => sum + secondsOf(pid), 0),
    generator: secondsOf(generator),
    machine: machineSeconds(),
  }
}

/**
 * Memory in bytes: resident for Node and Redis; for Postgres, whose processes share most of theirs, the sum of
 * their proportional sizes. Undefined where there is no /proc.
 */
export function readMemory({
  node,
  redis,
  postgres,
}: Pids): Record<'node' | 'redis' | 'postgres', number> | undefined {
  if (process.platform !== 'linux') return undefined
  return {
    node: kibOf(`/proc/${node}/status`, 'VmRSS') * KIB,
    redis: kibOf(`/proc/${redis}/status`, 'VmRSS') * KIB,
    postgres:
      withChildren(postgres).reduce((sum, pid) => sum + kibOf(`/proc/${pid}/smaps_rollup`, 'Pss'), 0) * KIB,
  }
}

function kibOf(file: string, field: string): number {
  try {
    return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0 // ended meanwhile, or not ours to look into
  }
}
