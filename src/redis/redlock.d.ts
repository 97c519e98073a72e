declare module 'redlock' {
  import type { EventEmitter } from 'node:events'

  /** What this project uses of redlock 4, which brings no types. Times in ms. */
  export default class Redlock extends EventEmitter {
    constructor(
      clients: object[],
      options?: { driftFactor?: number; retryCount?: number; retryDelay?: number; retryJitter?: number },
    )
    lock(resource: string, ttlMs: number): Promise<Lock>
    static LockError: new (
      ...args: never[]
    ) => Error
  }

  export interface Lock {
    unlock(): Promise<void>
    extend(ttlMs: number): Promise<Lock>
  }
}
