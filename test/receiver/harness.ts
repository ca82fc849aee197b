import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { type Logger, pino } from 'pino';
import type { FileSystem } from '../../src/common/fileSystem.js';
import type { BlobIdentity, WireIdentity } from '../../src/common/identity.js';
import type { ReceiverApp, ReceiverConfig, ReceiverTls } from '../../src/config/model.js';
import {
  connectionsSettled,
  type Endpoint,
  H2Client,
  type SendRequest,
  send,
} from '../../src/protocol/index.js';
import { type Receiver, type ReceiverOptions, startReceiver } from '../../src/receiver/receiver.js';
import { testCerts } from '../support/certs.js';
import { tempDir } from '../support/tempDir.js';

export const KEY = 'the key of foo\n';
export const STREAM = '0123456789abcdef'.repeat(2);
export const OTHER_STREAM = 'fedcba9876543210'.repeat(2);

export function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

export const NO_APP_LIMITS: ReceiverApp['limits'] = {
  bytesPerSecond: null,
  requestsPerMinute: null,
  storedBytes: null,
};

/** An app as the configuration has it when only its name and keys are given. */
export function appConfig(name: string, keys: readonly string[]): ReceiverApp {
  return { name, keys, apply: null, ack: 'stored', limits: NO_APP_LIMITS };
}

/** TLS files as the configuration has them when nothing else is given. */
export function tlsConfig(files: { certFile: string; keyFile: string }): ReceiverTls {
  return { ...files, clientCaFile: null, ticketKeysMs: 86_400_000 };
}

/** A configuration with one app `foo.r`, in a folder of its own. */
export function receiverConfig(changes: Partial<ReceiverConfig> = {}): ReceiverConfig {
  const folder = tempDir();
  const keyFile = join(folder, 'key');
  writeFileSync(keyFile, KEY);
  const { certFile, keyFile: tlsKey } = testCerts();
  return {
    listen: { host: '127.0.0.1', port: 0 },
    tls: tlsConfig({ certFile, keyFile: tlsKey }),
    proxies: [],
    dataDir: join(folder, 'received'),
    dialect: 'acked',
    limits: { maxBatchBytes: null, maxBlobBytes: null, idleMs: 2_000, connections: 64 },
    apps: [appConfig('foo.r', [keyFile])],
    ...changes,
  };
}

/** A receiver in this process, and what has arrived there. */
export class TestReceiver {
  readonly config: ReceiverConfig;
  /** The reasons of refusals, as they were logged. */
  readonly refusals: string[] = [];
  /** Whose they were. */
  readonly refusedPeers: string[] = [];
  #receiver: Receiver | null = null;

  constructor(config: ReceiverConfig = receiverConfig()) {
    this.config = config;
  }

  async start(
    fileSystem?: FileSystem,
    more: Pick<ReceiverOptions, 'bodyDeadlineMs'> = {},
  ): Promise<this> {
    const options = { ...more, ...(fileSystem === undefined ? {} : { fileSystem }) };
    this.#receiver = await startReceiver(this.config, this.#logger(), options);
    return this;
  }

  #logger(): Logger {
    const write = (line: string) => {
      const { reason, peer } = JSON.parse(line) as { reason?: string; peer?: string };
      if (reason !== undefined) {
        this.refusals.push(reason);
        this.refusedPeers.push(peer ?? '');
      }
      for (const secret of [KEY.trimEnd(), 'another key']) {
        if (line.includes(secret)) throw new Error(`key text in the log: ${line}`);
      }
    };
    return pino({ level: 'debug' }, { write });
  }

  get port(): number {
    if (this.#receiver === null) throw new Error('not started');
    return this.#receiver.address.port;
  }

  /** Open now. */
  get connections(): number {
    return this.#receiver?.connections() ?? 0;
  }

  async reload(): Promise<void> {
    await this.#receiver?.reload();
  }

  async stop(): Promise<void> {
    await this.#receiver?.stop();
    this.#receiver = null;
  }

  folder(app = 'foo.r'): string {
    return join(this.config.dataDir, app);
  }

  batches(app = 'foo.r'): string[] {
    return batchesIn(this.folder(app));
  }

  blob(path: string): string | null {
    const file = join(this.folder(), 'blobs', path);
    return existsSync(file) ? readFileSync(file, 'latin1') : null;
  }

  /** Parts that nobody owns any more would be a leak of disk. */
  parts(): string[] {
    return readdirSync(join(this.folder(), 'tmp'));
  }
}

/** The batches in order; fails when their numbers are not dense from 1. */
export function batchesIn(folder: string): string[] {
  const names = readdirSync(join(folder, 'batches')).sort();
  return names.map((name, i) => {
    const expected = `${String(i + 1).padStart(10, '0')}.batch`;
    if (name !== expected) throw new Error(`${name} stands where ${expected} should`);
    return readFileSync(join(folder, 'batches', name), 'latin1');
  });
}

export function endpointOf(port: number, changes: Partial<Endpoint> = {}): Endpoint {
  return {
    name: `receiver-${port}`,
    host: 'localhost',
    port,
    url: 'foo.r/!replica',
    key: Buffer.from(KEY),
    dialect: 'acked',
    confirm: 'applied',
    tls: { verify: true, ca: testCerts().ca, servername: null },
    timeouts: { connectMs: 3_000, idleMs: 5_000, applyMs: 5_000 },
    ...changes,
  };
}

async function* once(data: Buffer): AsyncGenerator<Uint8Array> {
  yield data;
}

let h2 = new H2Client();

/** Resolves when every connection of `ship` is gone; the next one makes its own. */
export async function settled(): Promise<void> {
  const before = h2;
  h2 = new H2Client();
  await Promise.all([connectionsSettled(), before.close()]);
}

/** Sends with our own sender, over the wire that `changes.dialect` names. */
export function ship(
  port: number,
  data: string | Buffer,
  identity?: WireIdentity | BlobIdentity,
  path?: string,
  changes: Partial<Endpoint> = {},
): ReturnType<typeof send> {
  const bytes = Buffer.from(data);
  const over = changes.dialect === 'h2' ? (request: SendRequest) => h2.send(request) : send;
  return over({
    endpoint: endpointOf(port, changes),
    body: path === undefined ? { kind: 'batch' } : { kind: 'blob', path },
    bytes: bytes.length,
    payload: once(bytes),
    mayConfirm: () => true,
    signal: new AbortController().signal,
    ...(identity === undefined ? {} : { identity }),
  });
}

/** A batch of a stream, its digest computed. */
export function claim(
  sequence: number,
  previous: number,
  data: string,
  stream = STREAM,
): WireIdentity {
  return { stream, sequence, previous, sha256: sha256(data) };
}

export const HEAD = 'GET /foo.r/!replica HTTP/1.0\r\nUser-Agent: PicoLisp\r\n\r\n';

/** Writes bytes as they are and gives what comes back until the end of file. */
export async function raw(
  port: number,
  parts: readonly (string | Buffer)[],
  options: { halfClose?: boolean } = {},
): Promise<string> {
  const socket = await open(port);
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
    // As bin/ssl: the T ends the conversation.
    if (answer === 'T') socket.end();
  });
  const over = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    socket.once('error', () => resolve());
  });
  for (const part of parts) socket.write(part);
  if (options.halfClose === true) socket.end();
  await over;
  socket.destroy();
  return answer;
}

/** @param alpn protocols to ask for; none: as PicoLisp's programs */
export function open(port: number, alpn: string[] = []): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const asked = alpn.length === 0 ? {} : { ALPNProtocols: alpn };
    const socket = connect({ port, host: '127.0.0.1', ca: testCerts().ca, ...asked }, () => {
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}
