import { connect } from 'node:net'
import { expect, it } from 'vitest'
import { pickPort, portFault } from '../../scripts/embedded/port.ts'

const looks = 300

it('a port is looked at while a client tries to reach its server: neither holds the other up', async () => {
  const port = await pickPort()
  let looking = true
  async function tryAgainAndAgain(): Promise<void> {
    while (looking) {
      await new Promise<void>((resolve) => {
        const socket = connect(port, '127.0.0.1')
        socket.once('error', () => undefined).once('close', () => resolve())
      })
    }
  }
  const client = Promise.all([tryAgainAndAgain(), tryAgainAndAgain()])
  for (let look = 0; look < looks; look++) expect(await portFault(port)).toBeUndefined()
  looking = false
  await client
})
