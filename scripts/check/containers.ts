import { indexes, lineAt, type Rule } from './source.ts'

/** The image takes Node from its base and leaves the npm package `node` without its own: they have to be the same. */
export const imageHasOurNode: Rule = (files) => {
  const manifest = files.find(({ path }) => path === 'package.json')
  const version = (JSON.parse(manifest?.text ?? '{}') as { dependencies?: { node?: string } }).dependencies
    ?.node
  return files
    .filter(({ path }) => path === 'Dockerfile')
    .flatMap(({ path, text }) =>
      indexes(text, /^FROM node:/gm)
        .filter((index) => !text.startsWith(`FROM node:${version}-`, index))
        .map((index) => {
          const advice = `the base image is node:${version}, as package.json pins it`
          return { path, line: lineAt(text, index), rule: 'image-node', advice }
        }),
    )
}
