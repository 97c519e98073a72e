import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { imageHasOurNode } from '../../scripts/check/containers.ts'
import * as kubernetes from '../../scripts/check/kubernetes.ts'
import type { Rule, SourceFile } from '../../scripts/check/source.ts'

const root = join(import.meta.dirname, '../..')
const folder = 'ops/k8s/base/'
const committed: SourceFile[] = readdirSync(join(root, 'ops/k8s'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.yaml'))
  .map((path) => ({ path: `ops/k8s/${path}`, text: readFileSync(join(root, 'ops/k8s', path), 'utf8') }))

/** What the rule says of the committed manifests when one of them is changed, or another one is added. */
function judge(rule: Rule, path: string, change: (text: string) => string) {
  const others = committed.filter((file) => file.path !== folder + path)
  const text = committed.find((file) => file.path === folder + path)?.text ?? ''
  const changed = change(text)
  expect(changed).not.toBe(text)
  return rule([...others, { path: folder + path, text: changed }])
}

it.each(Object.entries(kubernetes))('%s passes what is committed', (_name, rule) => {
  expect(committed.length).toBeGreaterThan(5)
  expect(rule(committed)).toEqual([])
})

describe('the schemas', () => {
  it.each([
    [
      'a misspelt field',
      'api.deployment.yaml',
      'readOnlyRootFilesystem',
      'readonlyRootFilesystem',
      'there is no',
    ],
    [
      'a field at the wrong depth',
      'api.deployment.yaml',
      '  template:',
      '  ports: []\n  template:',
      'spec.ports',
    ],
    ['a wrong type', 'api.deployment.yaml', 'periodSeconds: 10', 'periodSeconds: often', 'must be integer'],
    ['a wrong choice', 'api.deployment.yaml', 'path: /livez', 'path: /livez, scheme: FTP', 'allowed values'],
    ['a missing field', 'api.autoscaler.yaml', '  maxReplicas: 10\n', '', 'maxReplicas'],
    ['an unknown kind', 'api.service.yaml', 'kind: Service', 'kind: Servce', 'no Servce in v1'],
    ['an old group', 'api.autoscaler.yaml', 'autoscaling/v2', 'autoscaling/v2beta2', 'autoscaling/v2beta2'],
    ['no YAML', 'api.service.yaml', 'targetPort: http }', 'targetPort: http', 'Flow map'],
  ])('refuse %s', (_what, path, from, to, says) => {
    const violations = judge(kubernetes.manifestsMatchSchemas, path, (text) => text.replace(from, to))
    expect(violations).toMatchObject([{ path: folder + path, advice: expect.stringContaining(says) }])
  })

  it('tell the line', () => {
    const text = 'apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  port: 1\n'
    expect(kubernetes.manifestsMatchSchemas([{ path: `${folder}a.yaml`, text }])).toEqual([
      { path: `${folder}a.yaml`, line: 6, rule: 'kubernetes-schema', advice: 'there is no spec.port' },
    ])
  })

  it('know the resources of the Prometheus Operator', () => {
    const monitor = committed.find(({ path }) => path.endsWith('podmonitor.yaml'))
    const text = monitor?.text.replace('interval:', 'intervall:') ?? ''
    expect(kubernetes.manifestsMatchSchemas([{ path: `${folder}a.yaml`, text }])).toHaveLength(1)
  })
})

it.each([
  ['a resource that is not there', 'kustomization.yaml', '  - api.service.yaml', '  - api.servic.yaml', 2],
  ['a manifest that nobody names', 'kustomization.yaml', '  - api.service.yaml\n', '', 1],
  ['a field that kustomize does not know', 'kustomization.yaml', 'resources:', 'resource: []\nresources:', 1],
])('%s is no kustomization', (_what, path, from, to, count) => {
  const violations = judge(kubernetes.kustomizationsAreComplete, path, (text) => text.replace(from, to))
  expect(violations).toHaveLength(count)
})

it.each([
  ['kustomization.yaml', 'STOCK_SHARDS', 'STOCK_SHARD'],
  ['api.deployment.yaml', '- name: REDIS_URL', '- name: REDIS'],
])('in %s settings have the names of src/env.ts', (path, from, to) => {
  const violations = judge(kubernetes.manifestsNameSettings, path, (text) => text.replace(from, to))
  expect(violations).toMatchObject([{ path: folder + path, rule: 'kubernetes-setting' }])
})

it.each([
  ['api.deployment.yaml', 'terminationGracePeriodSeconds: 20', 'terminationGracePeriodSeconds: 15'],
  ['api.deployment.yaml', 'seconds: 5', 'seconds: 10'],
  ['worker.deployment.yaml', 'terminationGracePeriodSeconds: 15', 'terminationGracePeriodSeconds: 10'],
])('in %s the grace period has room for the graceful stop', (path, from, to) => {
  const violations = judge(kubernetes.gracePeriodsAreEnough, path, (text) => text.replace(from, to))
  expect(violations).toMatchObject([{ path: folder + path, rule: 'grace-period' }])
})

it('the Prometheus Operator gets the alerts that Prometheus reads in Compose', () => {
  const ours = parse(readFileSync(join(root, 'ops/prometheus/alerts.yml'), 'utf8'))
  const rule = committed.find(({ path }) => path.endsWith('prometheusrule.yaml'))
  expect(parse(rule?.text ?? '').spec).toEqual(ours)
})

it('the image has the Node of package.json', () => {
  const judged = (...tags: string[]) =>
    imageHasOurNode([
      { path: 'package.json', text: '{"dependencies": {"node": "26.1.0"}}' },
      { path: 'Dockerfile', text: tags.map((tag) => `FROM node:${tag}\n`).join('') },
    ])
  expect(judged('26.1.0-slim AS dependencies', '26.1.0-slim')).toEqual([])
  expect(judged('26.1.0-slim', '26-slim')).toMatchObject([{ path: 'Dockerfile', line: 2 }])
})
