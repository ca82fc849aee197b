import type { FieldPath } from './problems.js';

/**
 * A line to paste for every field, by its path with `*` for names and `[]` for list indexes. The
 * keys also serve as the list of known fields when an unknown one turns up.
 */
const SAMPLES: Readonly<Record<string, string>> = {
  redis: 'redis: embedded',
  'redis.url': 'url: redis://127.0.0.1:6379',
  'redis.username': 'username: ferry',
  'redis.password': `password: ${'$'}{REDIS_PASSWORD}`,
  'redis.tls': 'tls: {ca: ./redis-ca.pem}',
  'redis.tls.verify': 'verify: true',
  'redis.tls.ca': 'ca: ./redis-ca.pem',
  'redis.tls.cert': 'cert: ./redis-client.pem',
  'redis.tls.key': 'key: ./redis-client.key',
  'redis.tls.servername': 'servername: redis.example.com',
  'redis.sentinels': 'sentinels: {name: mymaster, hosts: ["10.0.0.1:26379"]}',
  'redis.sentinels.name': 'name: mymaster',
  'redis.sentinels.hosts': 'hosts: ["10.0.0.1:26379", "10.0.0.2:26379"]',
  'redis.cluster': 'cluster: ["10.0.0.1:6379", "10.0.0.2:6379"]',
  'redis.prefix': 'prefix: ferry',
  'redis.durability': 'durability: required',
  state: 'state: ./state',
  payloads: 'payloads: spool',
  destinations:
    'destinations: {replica: {host: replica.example.com, url: "foo.r/!replica", key: ./key/server}}',
  'destinations.*':
    'replica: {host: replica.example.com, url: "foo.r/!replica", key: ./key/server}',
  'destinations.*.host': 'host: replica.example.com',
  'destinations.*.port': 'port: 443',
  'destinations.*.url': 'url: "{journal}.r/!replica"',
  'destinations.*.key': 'key: ./key/server',
  'destinations.*.key.text': 'text: "..."',
  'destinations.*.key.file': 'file: ./key/server',
  'destinations.*.dialect': 'dialect: acked',
  'destinations.*.confirm': 'confirm: applied',
  'destinations.*.tls': 'tls: {verify: true}',
  'destinations.*.tls.verify': 'verify: true',
  'destinations.*.tls.ca': 'ca: ./ca.pem',
  'destinations.*.tls.servername': 'servername: replica.example.com',
  'destinations.*.tls.cert': 'cert: ./client.pem',
  'destinations.*.tls.key': 'key: ./client.key',
  'destinations.*.connections': 'connections: 4',
  'destinations.*.timeouts': 'timeouts: {connect: 10s, idle: 60s, apply: 30m}',
  'destinations.*.timeouts.connect': 'connect: 10s',
  'destinations.*.timeouts.idle': 'idle: 60s',
  'destinations.*.timeouts.apply': 'apply: 30m',
  'destinations.*.identity': 'identity: true',
  'destinations.*.directories': 'directories: [./copies/]',
  'destinations.*.was': 'was: [oldname]',
  journals: 'journals: [{name: foo, path: fifo/foo, to: replica}]',
  'journals[]': '- {name: foo, path: fifo/foo, to: replica}',
  'journals[].name': 'name: foo',
  'journals[].path': 'path: fifo/foo',
  'journals[].match': 'match: fifo/*',
  'journals[].exclude': 'exclude: [beat]',
  'journals[].blobs': 'blobs: blob/{journal}/',
  'journals[].to': 'to: replica',
  'journals[].interval': 'interval: 20s',
  'journals[].attempts': 'attempts: 0',
  'journals[].flush': 'flush: {quiet: 0ms, maxBytes: 16MiB, trimAbove: off}',
  'journals[].flush.quiet': 'quiet: 0ms',
  'journals[].flush.maxBytes': 'maxBytes: 16MiB',
  'journals[].flush.trimAbove': 'trimAbove: off',
  'journals[].limits': 'limits: {ahead: 64, queued: 256MiB, spool: 20GiB}',
  'journals[].limits.ahead': 'ahead: 64',
  'journals[].limits.queued': 'queued: 256MiB',
  'journals[].limits.spool': 'spool: 20GiB',
  archive: 'archive: {keep: 7d, maxBytes: 1GiB}',
  'archive.keep': 'keep: 7d',
  'archive.maxBytes': 'maxBytes: 1GiB',
  dashboard: 'dashboard: {listen: 127.0.0.1:3000}',
  'dashboard.listen': 'listen: 127.0.0.1:3000',
  'dashboard.users': 'users: [{name: ops, password: {env: FERRY_PASSWORD}}]',
  'dashboard.users[]': '{name: ops, password: {env: FERRY_PASSWORD}}',
  'dashboard.users[].name': 'name: ops',
  'dashboard.users[].password': 'password: {env: FERRY_PASSWORD}',
  'dashboard.users[].readOnly': 'readOnly: true',
  metrics: 'metrics: {listen: 127.0.0.1:9464}',
  'metrics.listen': 'listen: 127.0.0.1:9464',
  receiver:
    'receiver: {listen: 0.0.0.0:4443, tls: {cert: ./cert.pem, key: ./key.pem}, apps: [{name: "*", keys: [./key/server]}]}',
  'receiver.listen': 'listen: 0.0.0.0:4443',
  'receiver.tls': 'tls: {cert: ./cert.pem, key: ./key.pem}',
  'receiver.tls.cert': 'cert: ./cert.pem',
  'receiver.tls.key': 'key: ./key.pem',
  'receiver.tls.clientCa': 'clientCa: ./clients.pem',
  'receiver.tls.ticketKeys': 'ticketKeys: 24h',
  'receiver.proxies': 'proxies: [127.0.0.1, 10.0.0.0/8]',
  'receiver.data': 'data: ./received',
  'receiver.dialect': 'dialect: acked',
  'receiver.limits': 'limits: {maxBatch: off, maxBlob: off, idle: 60s, connections: 512}',
  'receiver.limits.maxBatch': 'maxBatch: off',
  'receiver.limits.maxBlob': 'maxBlob: off',
  'receiver.limits.idle': 'idle: 60s',
  'receiver.limits.connections': 'connections: 512',
  'receiver.apps': 'apps: [{name: foo.r, keys: [./key/server]}]',
  'receiver.apps[]': '{name: foo.r, keys: [./key/server]}',
  'receiver.apps[].name': 'name: foo.r',
  'receiver.apps[].keys': 'keys: [./key/server]',
  'receiver.apps[].apply': 'apply: ["sh", "-c", "cat >> replica.log"]',
  'receiver.apps[].ack': 'ack: stored',
  'receiver.apps[].limits':
    'limits: {bytesPerSecond: 10MiB, requestsPerMinute: 600, storedBytes: 100GiB}',
  'receiver.apps[].limits.bytesPerSecond': 'bytesPerSecond: 10MiB',
  'receiver.apps[].limits.requestsPerMinute': 'requestsPerMinute: 600',
  'receiver.apps[].limits.storedBytes': 'storedBytes: 100GiB',
};

/** A hint for a bad or missing field: the line for it, or for the nearest field above. */
export function sampleHint(path: FieldPath): string {
  for (let length = path.length; length > 0; length -= 1) {
    const sample = SAMPLES[patternOf(path.slice(0, length))];
    if (sample !== undefined) return `write for example: ${sample}`;
  }
  return 'see `ferry config schema` for all fields';
}

/** A hint for an unknown field: the one that was probably meant, or all there are. */
export function unknownFieldHint(path: FieldPath): string {
  const parent = patternOf(path.slice(0, -1));
  const name = String(path.at(-1));
  const known = Object.keys(SAMPLES)
    .filter((key) => (parent === '' ? !/[.[]/.test(key) : key.startsWith(`${parent}.`)))
    .map((key) => (parent === '' ? key : key.slice(parent.length + 1)))
    .filter((key) => !/[.[]/.test(key) && key !== '*');
  const near = known.find((key) => distance(key.toLowerCase(), name.toLowerCase()) <= 2);
  // Known, and so only beside another: `key: {text: ..., file: ...}`.
  if (known.includes(name)) return `remove it, or the other fields beside it`;
  if (near !== undefined) {
    const sample = SAMPLES[parent === '' ? near : `${parent}.${near}`];
    return `did you mean ${near}? write for example: ${sample}`;
  }
  return known.length === 0 ? 'remove it' : `known fields here: ${known.join(', ')}`;
}

/** `['destinations', 'replica', 'port']` as `destinations.*.port`. */
function patternOf(path: FieldPath): string {
  return path.reduce<string>((pattern, part) => {
    if (typeof part === 'number') return `${pattern}[]`;
    if (pattern === '') return part;
    return pattern === 'destinations' ? 'destinations.*' : `${pattern}.${part}`;
  }, '');
}

/** Levenshtein distance: letters to change, add or drop. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
