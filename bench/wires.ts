import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../demo/certificate.js';
import { DemoProcess } from '../demo/demoProcess.js';
import {
  connectionsSettled,
  type Endpoint,
  H2Client,
  type SendRequest,
  type SendResult,
  send,
} from '../src/protocol/index.js';

/**
 * Batches per second from many routes to a receiver of ours, every one on its disk before it is
 * confirmed: over the old wire, a connection for each, and over HTTP/2. Both in the same run, in
 * turns, against the same receiver; without Redis and spool, so that the wire is what differs.
 *
 * usage: node dist/bench/wires.js [routes] [at once] [bytes] [seconds per turn]
 */
const [routes = 1_000, atOnce = 64, bytes = 1_000, seconds = 4] = process.argv.slice(2).map(Number);
const TURNS = 3;
/** Of the kernel's clock in /proc. */
const TICK_MS = 10;

const ferry = fileURLToPath(new URL('../src/cli/ferry.cjs', import.meta.url));
const KEY = 'a key\n';

type Send = (request: SendRequest) => Promise<SendResult>;

interface Stream {
  id: string;
  sequence: number;
}

async function* once(data: Buffer): AsyncIterable<Uint8Array> {
  yield data;
}

interface Turn {
  /** Confirmed per second. */
  rate: number;
  /** CPU time of one batch, ms: says the same on a busy machine. */
  sendMs: number;
  receiveMs: number;
}

/** CPU time that a process has used, ms. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Sends for a while, each route one batch after another. */
async function turn(over: Send, endpoint: Endpoint, receiver: number): Promise<Turn> {
  const free: Stream[] = Array.from({ length: routes }, () => ({
    id: randomBytes(16).toString('hex'),
    sequence: 0,
  }));
  const data = randomBytes(bytes);
  const sha256 = createHash('sha256').update(data).digest('hex');
  const cpu = [cpuMs(process.pid), cpuMs(receiver)] as const;
  const begun = performance.now();
  const end = begun + seconds * 1000;
  let confirmed = 0;
  const sender = async (): Promise<void> => {
    for (;;) {
      const stream = free.shift();
      if (stream === undefined || performance.now() > end) return;
      stream.sequence += 1;
      await over({
        endpoint,
        body: { kind: 'batch' },
        bytes,
        payload: once(data),
        identity: {
          stream: stream.id,
          sequence: stream.sequence,
          previous: stream.sequence - 1,
          sha256,
        },
        mayConfirm: () => true,
        signal: new AbortController().signal,
      });
      confirmed += 1;
      free.push(stream);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, routes) }, sender));
  return {
    rate: confirmed / ((performance.now() - begun) / 1000),
    sendMs: (cpuMs(process.pid) - cpu[0]) / confirmed,
    receiveMs: (cpuMs(receiver) - cpu[1]) / confirmed,
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

async function main(): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'ferry-wires-'));
  const { cert, key } = await makeCertificate();
  await writeFile(join(root, 'cert.pem'), cert);
  await writeFile(join(root, 'cert.key'), key, { mode: 0o600 });
  await writeFile(join(root, 'key'), KEY, { mode: 0o600 });
  await writeFile(
    join(root, 'receiver.yaml'),
    'receiver: {listen: "127.0.0.1:0", tls: {cert: ./cert.pem, key: ./cert.key}, data: ./received, limits: {connections: 2000}, apps: [{name: foo.r, keys: [./key]}]}\n',
  );
  const receiver = new DemoProcess(ferry, ['receiver', '-c', 'receiver.yaml'], root);
  const h2 = new H2Client();
  try {
    const port = Number((await receiver.line(/"port":\s*(\d+)/))[1]);
    const endpoint: Endpoint = {
      name: 'bench',
      host: 'localhost',
      port,
      url: 'foo.r/!replica',
      key: Buffer.from(KEY),
      dialect: 'acked',
      confirm: 'applied',
      tls: { verify: true, ca: Buffer.from(cert), servername: null },
      timeouts: { connectMs: 10_000, idleMs: 30_000, applyMs: 30_000 },
    };
    const wires: readonly [name: string, over: Send, endpoint: Endpoint][] = [
      ['old wire, confirm: applied', send, endpoint],
      ['old wire, confirm: acked', send, { ...endpoint, confirm: 'acked' }],
      ['HTTP/2', (request) => h2.send(request), { ...endpoint, dialect: 'h2' }],
    ];
    const turns = new Map<string, Turn[]>();
    for (let n = 0; n < TURNS; n += 1) {
      for (const [name, over, to] of wires) {
        const one = await turn(over, to, receiver.pid);
        turns.set(name, [...(turns.get(name) ?? []), one]);
      }
    }
    const rateOf = (of: readonly Turn[]) => median(of.map(({ rate }) => rate));
    const base = rateOf(turns.get(wires[0]?.[0] ?? '') ?? []);
    console.log(`${routes} routes, ${atOnce} at once, batches of ${bytes} bytes`);
    for (const [name, of] of turns) {
      const all = of.map(({ rate }) => rate.toFixed(0)).join(', ');
      const send = median(of.map(({ sendMs }) => sendMs)).toFixed(2);
      const receive = median(of.map(({ receiveMs }) => receiveMs)).toFixed(2);
      console.log(
        `${name}: ${rateOf(of).toFixed(0)} batches/s (${all}), ${(rateOf(of) / base).toFixed(1)} x; CPU per batch: sender ${send} ms, receiver ${receive} ms`,
      );
    }
  } finally {
    await h2.close();
    await connectionsSettled();
    await receiver.stop();
    await rm(root, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

await main();
