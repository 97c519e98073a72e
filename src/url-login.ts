/**
 * Whether user and password of a URL can be decoded: a % that is none of the encoding (`p%ss`) would fail whoever
 * connects, with an error that does not name the setting.
 */
export function isLoginReadable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username)
    decodeURIComponent(password)
    return true
  } catch {
    return false
  }
}

export const unreadableLogin = 'must have user and password percent-encoded, a % as %25'
