import { posix } from 'node:path'
import * as prometheus from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import * as apps from 'kubernetes-models/apps/v1'
import * as autoscaling from 'kubernetes-models/autoscaling/v2'
import * as batch from 'kubernetes-models/batch/v1'
import * as policy from 'kubernetes-models/policy/v1'
import * as core from 'kubernetes-models/v1'
import { describeEnv } from '../../src/env.ts'
import { isObject, list, type Manifest, member, type Path, readManifests } from './manifest.ts'
import type { Rule, Violation } from './source.ts'

/** The groups that may be used; another one is added here. */
const GROUPS: Record<string, Record<string, unknown>> = {
  v1: core,
  'apps/v1': apps,
  'autoscaling/v2': autoscaling,
  'batch/v1': batch,
  'monitoring.coreos.com/v1': prometheus,
  'policy/v1': policy,
}
const KUSTOMIZATION_FIELDS = ['apiVersion', 'kind', 'namespace', 'resources', 'configMapGenerator', 'images']
const POD: Path = ['spec', 'template', 'spec']

type Model = { prototype: { validate(): void } }
type Reads = { path: Path; keys: string[]; read: Set<string> }

/**
 * Manifests are what the API server takes. Its schemas let unknown fields pass, and so does the server unless asked to
 * be strict: a misspelt `securityContext` would go unnoticed. The validators read each field that they know and no
 * other, so what they have not read is unknown.
 */
export const manifestsMatchSchemas: Rule = (files) => {
  const { manifests, broken } = readManifests(files)
  return [...broken, ...manifests.filter(({ isKustomization }) => !isKustomization).flatMap(judge)]
}

function judge({ value, flag }: Manifest): Violation[] {
  const rule = 'kubernetes-schema'
  const [version, kind] = [String(member(value, 'apiVersion')), String(member(value, 'kind'))]
  const model = GROUPS[version]?.[kind] as Model | undefined
  if (!model) return [flag(rule, ['kind'], `there is no ${kind} in ${version}`)]
  const seen: Reads[] = []
  const violations: Violation[] = []
  try {
    model.prototype.validate.call(watched(value, [], seen) as never)
  } catch (error) {
    const { errors } = error as { errors?: { instancePath: string; message: string }[] }
    if (!errors) throw error
    for (const { instancePath, message } of errors) {
      const path = instancePath.split('/').slice(1)
      const steps = path.map((step) => (/^\d+$/.test(step) ? Number(step) : step))
      violations.push(flag(rule, steps, `${path.join('.')} ${message}`))
    }
  }
  for (const { path, keys, read } of seen)
    for (const key of keys.filter((key) => !read.has(key)))
      violations.push(flag(rule, [...path, key], `there is no ${[...path, key].join('.')}`))
  return violations
}

/** A copy of which `seen` tells what members there are, and which were read. Lists are read as a whole. */
function watched(value: unknown, path: Path, seen: Reads[]): unknown {
  if (Array.isArray(value)) return value.map((item, index) => watched(item, [...path, index], seen))
  if (!isObject(value)) return value
  const read = new Set<string>()
  seen.push({ path, keys: Object.keys(value), read })
  const copy = Object.entries(value).map(([key, item]) => [key, watched(item, [...path, key], seen)])
  return new Proxy(Object.fromEntries(copy), {
    get(target, key) {
      read.add(String(key))
      return target[key]
    },
  })
}

/** What a kustomization names is there, and what is there is named: nothing is left out by a slip. */
export const kustomizationsAreComplete: Rule = (files) => {
  const rule = 'kustomization'
  const { manifests } = readManifests(files)
  const paths = new Set(manifests.map(({ file }) => file.path))
  const named = new Set<string>()
  const wrong = manifests
    .filter(({ isKustomization }) => isKustomization)
    .flatMap(({ file, value, flag }) => [
      ...Object.keys(value ?? {})
        .filter((key) => !KUSTOMIZATION_FIELDS.includes(key))
        .map((key) => flag(rule, [key], `${key} is not known here`)),
      ...list(member(value, 'resources')).flatMap((name, index) => {
        const target = posix.join(posix.dirname(file.path), String(name))
        named.add(target)
        const isThere = paths.has(target) || paths.has(`${target}/kustomization.yaml`)
        return isThere ? [] : [flag(rule, ['resources', index], `there is no ${target}`)]
      }),
    ])
  const forgotten = manifests
    .filter(({ file, isKustomization }) => !isKustomization && !named.has(file.path))
    .map(({ flag }) => flag(rule, [], 'name it in the kustomization of its folder'))
  return [...wrong, ...forgotten]
}

/** A misspelt setting would be none: the service does not look for it. */
export const manifestsNameSettings: Rule = (files) => {
  const known = new Set(describeEnv().map(({ name }) => name))
  return readManifests(files).manifests.flatMap((manifest) => {
    const variables = containersOf(manifest).flatMap(({ value, path }) =>
      list(member(value, 'env')).map((variable, index) => {
        return { name: String(member(variable, 'name')), path: [...path, 'env', index] }
      }),
    )
    return [...variables, ...literalsOf(manifest)]
      .filter(({ name }) => !known.has(name))
      .map(({ name, path }) => manifest.flag('kubernetes-setting', path, `src/env.ts has no setting ${name}`))
  })
}

/** Kubernetes kills after the grace period, which runs from preStop on: the graceful stop must fit into it. */
export const gracePeriodsAreEnough: Rule = (files) => {
  const { manifests } = readManifests(files)
  const setting = describeEnv().find(({ name }) => name === 'SHUTDOWN_TIMEOUT_MS')
  const literal = manifests.flatMap(literalsOf).find(({ name }) => name === setting?.name)
  const stopSeconds = Number(literal?.text ?? setting?.fallback) / 1000
  return manifests
    .filter(({ value }) => member(value, 'kind') === 'Deployment')
    .filter((manifest) => {
      const grace = Number(member(manifest.value, ...POD, 'terminationGracePeriodSeconds') ?? 30)
      const pauses = containersOf(manifest).map(({ value }) =>
        Number(member(value, 'lifecycle', 'preStop', 'sleep', 'seconds') ?? 0),
      )
      return grace <= stopSeconds + Math.max(...pauses)
    })
    .map(({ flag }) =>
      flag(
        'grace-period',
        [...POD, 'terminationGracePeriodSeconds'],
        `make it longer than preStop and ${setting?.name} together`,
      ),
    )
}

function containersOf({ value }: Manifest): { value: unknown; path: Path }[] {
  const path = [...POD, 'containers']
  return list(member(value, ...path)).map((container, index) => ({
    value: container,
    path: [...path, index],
  }))
}

/** The names and texts of generated ConfigMaps, and where they stand. */
function literalsOf({ value }: Manifest): { name: string; text: string; path: Path }[] {
  return list(member(value, 'configMapGenerator')).flatMap((generator, index) =>
    list(member(generator, 'literals')).map((literal, position) => {
      const [name = '', text = ''] = String(literal).split(/=(.*)/s)
      return { name, text, path: ['configMapGenerator', index, 'literals', position] }
    }),
  )
}
