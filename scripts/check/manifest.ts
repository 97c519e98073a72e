import { type Document, isNode, LineCounter, parseAllDocuments } from 'yaml'
import type { SourceFile, Violation } from './source.ts'

export type Path = (string | number)[]

/** One document of a file of ops/k8s. */
export type Manifest = {
  file: SourceFile
  isKustomization: boolean
  value: unknown
  /** Makes a violation at what is at `path`, or at the nearest that is there. */
  flag(rule: string, path: Path, advice: string): Violation
}

/** The Kubernetes manifests among the files, and what is no YAML. */
export function readManifests(files: SourceFile[]): { manifests: Manifest[]; broken: Violation[] } {
  const manifests: Manifest[] = []
  const broken: Violation[] = []
  for (const file of files.filter(({ path }) => /^ops\/k8s\/.*\.ya?ml$/.test(path))) {
    const lineCounter = new LineCounter()
    const line = (offset: number) => lineCounter.linePos(offset).line
    for (const document of parseAllDocuments(file.text, { lineCounter }) as Document[]) {
      for (const { pos, message } of document.errors)
        broken.push({ path: file.path, line: line(pos[0]), rule: 'yaml', advice: message })
      if (document.errors.length > 0) continue
      const flag = (rule: string, path: Path, advice: string): Violation => {
        let node: unknown
        for (let depth = path.length; depth >= 0 && !isNode(node); depth--)
          node = document.getIn(path.slice(0, depth), true)
        return { path: file.path, line: line((isNode(node) && node.range?.[0]) || 0), rule, advice }
      }
      const isKustomization = /\/kustomization\.ya?ml$/.test(file.path)
      manifests.push({ file, isKustomization, value: document.toJS(), flag })
    }
  }
  return { manifests, broken }
}

/** What is at `path` in the value; undefined when nothing is. */
export function member(value: unknown, ...path: Path): unknown {
  let found = value
  for (const key of path) found = isObject(found) || Array.isArray(found) ? (found as never)[key] : undefined
  return found
}

/** The list that the value is, or an empty one. */
export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
