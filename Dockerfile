# One image for every role; the command says which.
FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:24-bookworm-slim
# redis-tools holds the server for `redis: embedded`; remove the line if yours runs elsewhere.
RUN apt-get update \
 && apt-get install -y --no-install-recommends redis-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/journal-ferry
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
RUN ln -s /opt/journal-ferry/dist/src/cli/ferry.cjs /usr/local/bin/ferry \
 && mkdir -p /ferry && chown node:node /ferry
USER node
WORKDIR /ferry
ENTRYPOINT ["ferry"]
CMD ["run"]
