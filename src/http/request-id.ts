const safeId = /^[\w.:=+/@~-]{1,128}$/

/** The id of a request: that of the caller when it is safe to log and echo, else a new one. */
export function requestIdOf(given: string | string[] | null | undefined, newId: () => string): string {
  return typeof given === 'string' && safeId.test(given) ? given : newId()
}

/**
 * Makes ids for requests that bring none: what is random of one id of `newId`, and a number that counts up. A random id
 * for each cost more than the look at the caller's.
 */
export function createRequestIds(newId: () => string): () => string {
  // The last group of a UUID, 48 bits: nobody finds two processes with the same in the logs of a year.
  const start = newId().slice(-12)
  let made = 0
  return () => `${start}-${(++made).toString(36)}`
}
