export type BannerFacts = {
  baseUrl: string
  /** one line each: what it is and where */
  postgres: string
  redis: string
  platform: string
  dataDir: string
  logs: readonly string[]
  adminToken: string
  policyId: number
  userId: number
}

/**
 * What a newcomer is told when everything runs: where it is, where data and logs lie, the admin token, and a first
 * call that works when pasted.
 */
export function banner(facts: BannerFacts): string {
  const { baseUrl, postgres, redis, platform, dataDir, logs, adminToken, policyId, userId } = facts
  const rows = [
    ['service', `${baseUrl}   API description at ${baseUrl}/docs`],
    ['postgres', postgres],
    ['redis', redis],
    ['platform', platform],
    ['data', `${dataDir}   kept until you delete it`],
    ['logs', logs.join('  ')],
    ['admin', `Authorization: Bearer ${adminToken}`],
  ]
  return `
seonchak runs. Ctrl-C stops everything.

${rows.map(([name = '', text = '']) => `  ${name.padEnd(9)} ${text}`).join('\n')}

Issue the first coupon:

  curl -sS -X POST ${baseUrl}/v1/coupon-policies/${policyId}/issue \\
    -H 'content-type: application/json' -d '{"userId": ${userId}}'
`
}

/** A URL for the screen, or several with commas between, without passwords. */
export function withoutPassword(urls: string): string {
  return urls
    .split(/\s*,\s*(?=[a-z]+:\/\/)/i)
    .map((url) => {
      if (!URL.canParse(url)) return url
      const shown = new URL(url)
      if (shown.password) shown.password = '***'
      return shown.href
    })
    .join()
}
