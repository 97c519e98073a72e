# One image for every role, the migration and the tools: `docker run seonchak scripts/migrate.ts`.
#
# Node comes with the base image. Its tag and the npm package `node` in package.json name the same version, which
# `npm run check` holds to, so that what is tested is what runs; and --ignore-scripts leaves that package without the
# second copy of Node that it would download. No other production dependency has a script that is needed.
FROM node:26.10.0-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:26.10.0-slim
ENV NODE_ENV=production
WORKDIR /app
# All of it belongs to root: who runs it can change none of it, and it needs no folder to write to.
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY lua lua
COPY src src
COPY scripts scripts
# By number, as Kubernetes can tell only from a number that it is not root.
USER 1000:1000
EXPOSE 3000
# Whether the process runs, not whether the stores do: who restarts what is unhealthy heals no store by it.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 CMD ["node", "scripts/healthcheck.mjs"]
STOPSIGNAL SIGTERM
# Room for the requests under way in young space: see docs/benchmarks.md.
# Node itself is the first process, with no shell or npm between it and SIGTERM, which src/main.ts answers.
ENTRYPOINT ["node"]
CMD ["--min-semi-space-size=64", "--max-semi-space-size=64", "--no-allocation-site-pretenuring", "src/main.ts"]
