import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Endpoint } from '../../src/protocol/index.js';
import { atEnd } from './atEnd.js';
import { testCerts } from './certs.js';
import { killPid, start, type TestProcess, until } from './process.js';
import { tempDir } from './tempDir.js';

const HOME = '/usr/lib/picolisp';
const PIL = '/usr/bin/pil';

/** The real command that journal-ferry replaces. */
export const BIN_SSL = join(HOME, 'bin/ssl');

/** A server of the 2015 dialect, with the arguments of `lib/replica.l`. */
export const REPLICA_2015 = fileURLToPath(new URL('../peers/replica2015.l', import.meta.url));

/** A database process that commits into a journal what it is told to on standard input. */
const WRITER = `
(argv *Db *Journal)
(pool *Db NIL *Journal)
(class +Item +Entity)
(rel nr (+Key +Number))
(rel txt (+String))
(prinl "ready") (flush)
(while (in NIL (line T))
   (let L (car (str @))
      (dbSync)
      (for I (car L)
         (new (db: +Item) '(+Item) 'nr (genKey 'nr '+Item) 'txt (pack (need (cadr L) "x"))) )
      (commit 'upd)
      (prinl "committed " (caddr L)) (flush) ) )
(bye)
`;

/** Throws where PicoLisp is missing: a skipped conformance test would look like a passed one. */
export function requirePicolisp(): void {
  for (const path of [PIL, BIN_SSL, join(HOME, 'bin/httpGate'), join(HOME, 'lib/replica.l')]) {
    if (!existsSync(path)) throw new Error(`${path} is missing: apt-get install picolisp`);
  }
}

/** A real writer with its database and journal. */
export class Writer {
  readonly db: string;
  readonly journal: string;
  readonly #process: TestProcess;
  #commits = 0;

  private constructor(folder: string, process: TestProcess) {
    this.db = join(folder, 'db');
    this.journal = join(folder, 'journal');
    this.#process = process;
  }

  static async start(): Promise<Writer> {
    requirePicolisp();
    const folder = tempDir();
    writeFileSync(join(folder, 'writer.l'), WRITER);
    const process = start(PIL, ['writer.l', 'db', 'journal'], { cwd: folder });
    await process.line(/^ready$/);
    return new Writer(folder, process);
  }

  /** One commit of so many new objects, each with a text of so many characters. */
  async commit(objects: number, characters: number): Promise<void> {
    this.#commits += 1;
    this.#process.stdin.write(`(${objects} ${characters} ${this.#commits})\n`);
    await this.#process.line(new RegExp(`^committed ${this.#commits}$`), 60_000);
  }

  get pid(): number {
    return this.#process.pid;
  }

  async stop(): Promise<void> {
    this.#process.stdin.end();
    await this.#process.end();
  }
}

/** A real replica.l behind a real httpGate with TLS. */
export class Replica {
  readonly db: string;
  readonly blobs: string;
  readonly port: number;
  readonly gatePort: number;
  readonly key: Buffer;
  readonly #start: () => Promise<TestProcess>;
  #process: TestProcess;

  private constructor(
    folder: string,
    ports: { port: number; gatePort: number },
    key: Buffer,
    start: () => Promise<TestProcess>,
    process: TestProcess,
  ) {
    this.#start = start;
    this.db = join(folder, 'db');
    this.blobs = join(folder, 'blob');
    this.port = ports.port;
    this.gatePort = ports.gatePort;
    this.key = key;
    this.#process = process;
  }

  /** `program`: the server; default the real `lib/replica.l`. It gets the same arguments. */
  static async start(program = join(HOME, 'lib/replica.l')): Promise<Replica> {
    requirePicolisp();
    const folder = tempDir();
    const key = Buffer.from('the key of the replica\n');
    mkdirSync(join(folder, 'blob'));
    writeFileSync(join(folder, 'key'), key);
    const ports = { port: await freePort(), gatePort: await freePort() };
    const arguments_ = [program, String(ports.port), 'key', 'journal', 'db'];
    const startProcess = async (): Promise<TestProcess> => {
      const process_ = start(PIL, [...arguments_, 'blob/'], { cwd: folder });
      endAtExit(() => [...(process_.isOver ? [] : [process_.pid]), ...gatePids(ports.gatePort)]);
      await accepts(ports.port, '::1');
      return process_;
    };
    const process_ = await startProcess();
    await startGate(ports);
    return new Replica(folder, ports, key, startProcess, process_);
  }

  /** Ends the replica, not its gate; what is done with its files meanwhile is what it finds. */
  async whileDown(work: () => void): Promise<void> {
    await this.#process.kill('SIGTERM');
    work();
    this.#process = await this.#start();
  }

  /** How our sender reaches it. */
  endpoint(): Endpoint {
    return {
      name: 'replica',
      host: 'localhost',
      port: this.gatePort,
      url: `${this.port}/!replica`,
      key: this.key,
      dialect: 'acked',
      confirm: 'applied',
      tls: { verify: true, ca: testCerts().ca, servername: null },
      timeouts: { connectMs: 5_000, idleMs: 20_000, applyMs: 60_000 },
    };
  }

  /** The replica, the gate, and the gate's children per connection, as they are now. */
  get pids(): { replica: number; gate: number[] } {
    return { replica: this.#process.pid, gate: gatePids(this.gatePort) };
  }

  async stop(): Promise<void> {
    await stopGate(this.gatePort);
    await this.#process.kill('SIGTERM');
  }
}

/** Both files, byte for byte. */
export function sameFiles(a: string, b: string): boolean {
  return readFileSync(a).equals(readFileSync(b));
}

/** httpGate goes into the background by itself; `atEnd` ends it by its port if a test did not. */
export async function startGate(ports: { port: number; gatePort: number }): Promise<void> {
  const { pemFile } = testCerts();
  // Before the command's own hook, which waits until nobody holds its output any more.
  atEnd(() => stopGate(ports.gatePort));
  const gate = start(join(HOME, 'bin/httpGate'), [
    String(ports.gatePort),
    String(ports.port),
    pemFile,
  ]);
  await until('httpGate listens', () => gatePids(ports.gatePort).length > 0);
  await accepts(ports.gatePort, '127.0.0.1');
  // What it started from has ended; its pipes are still held by the daemon.
  void gate;
}

/** `after` hooks do not run behind one that failed; the exit of the test process always comes. */
function endAtExit(pids: () => number[]): void {
  process.once('exit', () => {
    for (const pid of pids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It is gone, as it should be.
      }
    }
  });
}

export async function stopGate(gatePort: number): Promise<void> {
  for (const pid of gatePids(gatePort)) await killPid(pid, 'SIGKILL');
}

/** The gate of this port and its children per connection. */
function gatePids(gatePort: number): number[] {
  const pids: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'latin1').split('\0');
      if (words[0]?.endsWith('/httpGate') && words[1] === String(gatePort)) pids.push(Number(name));
    } catch {
      // It ended between the two readings.
    }
  }
  return pids;
}

/** A port that nobody uses now; the programs here cannot be asked for one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

function accepts(port: number, host: string): Promise<void> {
  return until(`port ${port} accepts`, () => {
    return new Promise<boolean>((resolve) => {
      const socket = connect(port, host, () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
  });
}
