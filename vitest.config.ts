import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/setup/services.ts'],
    // One file at a time: race and fault tests want both cores, and share one Redis.
    fileParallelism: false,
    execArgv: ['--import', './src/loading.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
