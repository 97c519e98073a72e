import { spawn } from 'node:child_process'

/**
 * Waits on its standard input, which ends when the process that holds the other end does, however it ends: then what
 * was started goes, in the order server, container, folders. A shell, as it must be small and outlive everything.
 * What was under way at that moment may still come, a container from the engine or files from an initdb, until it
 * finds its folders gone: hence the tries.
 */
const SCRIPT = `
pid=0 container= ticks='1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30'
while read -r word value; do
  case $word in
    pid) pid=$value ;;
    container) container=$value ;;
    done) exit 0 ;;
  esac
done
alive() { [ "$pid" -gt 0 ] && kill -0 "$pid" 2>/dev/null; }
if alive; then
  kill -INT "$pid"
  for tick in $ticks; do
    alive || break
    sleep 0.1
  done
  alive && kill -KILL "$pid"
fi
[ -n "$container" ] && for tick in 1 2 3 4 5 6; do
  docker rm --force --volumes "$container"
  sleep 0.5
done
for tick in $ticks; do
  rm -rf -- "$@" && break
  sleep 0.1
done
`

export type Guardian = {
  /** The server to end: its process number, 0 for none. Both Postgres and Redis stop in order on SIGINT. */
  server(pid: number): void
  /** The container to remove, by name or id; none of that name is no fault. */
  container(name: string): void
  /** Nothing is left to clean up: the guardian leaves without doing anything. */
  release(): void
}

/**
 * Sets a small process to clean up after this one, for the ends at which no code of ours runs any more: Vitest
 * answers Ctrl-C with process.exit, workers are killed, and so are hung test runs.
 * @param folders deleted at that time, with all that is in them
 */
export function guard(...folders: string[]): Guardian {
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'guardian', ...folders], {
    cwd: '/',
    // A session of its own: the Ctrl-C that ends us must not end it.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.on('error', () => undefined) // no /bin/sh, then, and no such safety either
  child.stdin.on('error', () => undefined) // it has left already
  child.unref()
  const { stdin } = child
  if ('unref' in stdin && typeof stdin.unref === 'function') stdin.unref()
  const tell = (line: string) => void stdin.write(`${line}\n`)
  return {
    server: (pid) => tell(`pid ${pid}`),
    container: (name) => tell(`container ${name}`),
    release: () => tell('done'),
  }
}
