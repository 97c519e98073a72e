import './loading.ts'

// Not statically: what is imported statically has been found before `loading` can help to find it.
await import('./program.ts')
