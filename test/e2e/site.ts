import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { pino } from 'pino';
import { makeCertificate } from '../../demo/certificate.js';
import { loadConfig } from '../../src/config/load.js';
import type { RouteStatus, StatusReport } from '../../src/status/report.js';
import { readStatusOfAll } from '../../src/status/status.js';
import {
  runFerry,
  type StartOptions,
  startFerry,
  type TestProcess,
  until,
} from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const silent = pino({ level: 'silent' });

/** Everything arrives within this, on a busy machine of two cores. */
export const ARRIVAL_MS = 60_000;

export interface DestinationOptions {
  port: number;
  /** Further fields of the destination, as YAML flow: `timeouts: {idle: 1s}`. */
  more?: string;
  url?: string;
}

export interface SenderOptions {
  destinations: Readonly<Record<string, DestinationOptions>>;
  /** Default `embedded`. */
  redis?: string;
  payloads?: 'spool' | 'redis';
  /** `{keep: 7d, maxBytes: 1MiB}`. Default: none. */
  archive?: string;
  /** Entries of `journals:`, each a YAML flow mapping without braces. */
  journals: readonly string[];
}

/** A directory with keys, certificates and configurations, where real roles are started. */
export class Site {
  readonly dir = tempDir();
  readonly keyText = `${randomBytes(16).toString('hex')}\n`;

  static async make(): Promise<Site> {
    const site = new Site();
    await mkdir(site.path('fifo'));
    await writeFile(site.path('key'), site.keyText, { mode: 0o600 });
    const { cert, key } = await makeCertificate();
    await writeFile(site.path('cert.pem'), cert);
    await writeFile(site.path('cert.key'), key, { mode: 0o600 });
    return site;
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Starts a receiver on a free port, or again on the same one. */
  async startReceiver(
    port = 0,
    options: StartOptions & { data?: string; more?: string } = {},
  ): Promise<{ process: TestProcess; port: number }> {
    const data = options.data ?? 'received';
    await writeFile(
      this.path(`${data}.yaml`),
      `receiver:
  listen: 127.0.0.1:${port}
  tls: {cert: ./cert.pem, key: ./cert.key}
  data: ./${data}
  ${options.more ?? ''}
  apps: [{name: "*", keys: [./key]}]
`,
    );
    const process = startFerry(['receiver', '-c', `${data}.yaml`, '--log-format', 'json'], {
      cwd: this.dir,
      ...options,
    });
    const line = await process.line(/"port":\d+/);
    return { process, port: Number(/"port":(\d+)/.exec(line)?.[1]) };
  }

  /** Writes a sender's configuration into `subdir` of the site. */
  async configure(options: SenderOptions, subdir = '.'): Promise<void> {
    const up = subdir === '.' ? '.' : '..';
    const destinations = Object.entries(options.destinations).map(
      ([name, { port, more, url }]) =>
        `  ${name}: {host: localhost, port: ${port}, url: "${url ?? '{journal}.r/!replica'}", key: ${up}/key, tls: {verify: true, ca: ${up}/cert.pem}${more === undefined ? '' : `, ${more}`}}`,
    );
    await mkdir(this.path(subdir), { recursive: true });
    await writeFile(
      this.path(subdir, 'ferry.yaml'),
      [
        `redis: ${options.redis ?? 'embedded'}`,
        'state: ./state',
        `payloads: ${options.payloads ?? 'spool'}`,
        ...(options.archive === undefined ? [] : [`archive: ${options.archive}`]),
        'destinations:',
        ...destinations,
        ...(options.journals.length === 0 ? [] : ['journals:']),
        ...options.journals.map((journal) => `  - {${journal}}`),
        '',
      ].join('\n'),
    );
  }

  async start(
    role: 'run' | 'producer' | 'worker',
    options: StartOptions & { subdir?: string } = {},
  ): Promise<TestProcess> {
    const child = startFerry([role, '--log-format', 'json', '--log-level', 'debug'], {
      ...options,
      cwd: this.path(options.subdir ?? '.'),
    });
    await child.line(role === 'worker' ? /worker started/ : /producer started/);
    return child;
  }

  /**
   * What `ferry status --json` prints, made in this process: tests look again and again, and each
   * start of a command costs as much as a hundred looks.
   */
  async status(subdir = '.'): Promise<StatusReport> {
    const config = loadConfig(this.path(subdir, 'ferry.yaml'));
    const report = await readStatusOfAll([config], silent, { areDaemons: false });
    return JSON.parse(JSON.stringify(report)) as StatusReport;
  }

  /** The command itself. */
  async statusCommand(subdir = '.'): Promise<StatusReport> {
    const result = await runFerry(['status', '--json'], { cwd: this.path(subdir) });
    if (result.code !== 0) throw new Error(`status failed\n${result.stdout}${result.stderr}`);
    return JSON.parse(result.stdout) as StatusReport;
  }

  async route(name: string): Promise<RouteStatus> {
    const { routes } = await this.status();
    const found = routes.find(({ route }) => route === name);
    if (found === undefined) throw new Error(`no route ${name} in ${JSON.stringify(routes)}`);
    return found;
  }

  /** What arrived of a journal, in the order of acceptance. */
  async received(journal: string, data = 'received'): Promise<Buffer> {
    const dir = this.path(data, `${journal}.r`, 'batches');
    const names = (await readdir(dir).catch(() => [])).filter((name) => name.endsWith('.batch'));
    return Buffer.concat(await Promise.all(names.sort().map((name) => readFile(join(dir, name)))));
  }

  async receivedBlob(journal: string, path: string, data = 'received'): Promise<Buffer | null> {
    return readFile(this.path(data, `${journal}.r`, 'blobs', path)).catch(() => null);
  }

  async arrived(journal: string, written: Buffer, data = 'received'): Promise<void> {
    await until(
      `${written.length} bytes of ${journal} arrived`,
      async () => (await this.received(journal, data)).length >= written.length,
      ARRIVAL_MS,
    );
    const received = await this.received(journal, data);
    if (!received.equals(written)) {
      const at = firstDifference(received, written);
      throw new Error(
        `${journal}: ${received.length} bytes arrived, ${written.length} were written, they differ from byte ${at}`,
      );
    }
  }
}

/** Appends commits under the lock, as a database does, and remembers what it wrote. */
export class Writer {
  readonly path: string;
  readonly #written: Buffer[] = [];
  #count = 0;

  constructor(path: string) {
    this.path = path;
  }

  get written(): Buffer {
    return Buffer.concat(this.#written);
  }

  /** One commit: `bytes` random bytes behind a line that numbers it. */
  async commit(bytes = 200): Promise<void> {
    this.#count += 1;
    const record = Buffer.concat([Buffer.from(`#${this.#count}\n`), randomBytes(bytes)]);
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
    const file = await open(this.path, flags, 0o600);
    try {
      while (!tryLock(file.fd)) await sleep(1);
      await file.appendFile(record);
      unlock(file.fd);
    } finally {
      await file.close();
    }
    this.#written.push(record);
  }
}

/** Makes a blob file and the link that announces it. */
export async function announceBlob(
  blobDir: string,
  link: string,
  text: string,
  content: Buffer,
): Promise<void> {
  const file = join(blobDir, text);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  await symlink(text, join(blobDir, link));
}

function firstDifference(a: Buffer, b: Buffer): number {
  let at = 0;
  while (at < Math.min(a.length, b.length) && a[at] === b[at]) at += 1;
  return at;
}
