/** The smallest file that does something. */
export const MINIMAL_CONFIG = `destinations:
  replica:
    host: replica.example.com
    url: "{journal}.r/!replica"
    key: ./key/server
journals:
  - {name: foo, path: fifo/foo, to: replica}
`;

/** Every field there is. */
export const FULL_CONFIG = `redis: embedded
state: ./state
payloads: spool
destinations:
  backup: {host: backup.example.com, url: "{journal}.b/!replica", key: ./key/backup}
  replica:
    host: replica.example.com
    port: 443
    url: "{journal}.r/!replica"
    key: ./key/server
    dialect: acked
    confirm: applied
    tls: {verify: true, ca: ./ca.pem, servername: replica.example.com}
    connections: 4
    timeouts: {connect: 10s, idle: 60s, apply: 30m}
    identity: true
    was: [oldname]
  copies: {directories: [./copies/]}
journals:
  - name: foo
    path: fifo/foo
    blobs: blob/foo/
    to: [replica, {backup: {start: paused}}]
    interval: 20s
    attempts: 0
    flush: {quiet: 0ms, maxBytes: 16MiB, trimAbove: off}
    limits: {ahead: 64, queued: 256MiB, spool: 20GiB}
  - match: fifo/*
    exclude: [beat]
    blobs: db/{journal}/blob/
    to: replica
archive: {keep: 7d, maxBytes: 1GiB}
dashboard: {listen: 127.0.0.1:3000, users: [{name: ops, password: {env: FERRY_PASSWORD}}]}
metrics: {listen: 127.0.0.1:9464}
receiver:
  listen: 0.0.0.0:4443
  tls: {cert: ./cert.pem, key: ./key.pem, clientCa: ./clients.pem, ticketKeys: 12h}
  proxies: [10.0.0.0/8, "::1"]
  data: ./received
  dialect: acked
  limits: {maxBatch: off, maxBlob: off, idle: 60s, connections: 512}
  apps:
    - name: foo.r
      keys: [./key/server]
      apply: ["sh", "-c", "cat >> replica.log"]
      ack: applied
      limits: {bytesPerSecond: 10MiB, requestsPerMinute: 600, storedBytes: 100GiB}
`;
