import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  connectionsSettled,
  type Endpoint,
  H2Client,
  type SendRequest,
  type SendResult,
  send,
} from '../../src/protocol/index.js';
import {
  atLeast,
  type Comparison,
  interleaved,
  medianRatio,
  medians,
  type Sample,
} from '../harness/comparison.js';
import type { Bench, Lab } from '../harness/lab.js';
import { cpuSeconds } from '../harness/usage.js';

const BYTES = 1_024;
const AT_ONCE = 64;

const SENDER = 'sender’s CPU, ms per batch';

interface Size {
  /** Of each batch. */
  bytes: number;
  routes: number;
  /** Batches of each route. */
  perRoute: number;
}

type Send = (request: SendRequest) => Promise<SendResult>;

async function* once(data: Buffer): AsyncIterable<Uint8Array> {
  yield data;
}

/** Batches that a receiver of ours confirms per second, and what each costs. */
async function confirmed(
  bench: Bench,
  over: Send,
  kind: Pick<Endpoint, 'dialect' | 'confirm'>,
  size: Size,
): Promise<Sample> {
  const { bytes, routes, perRoute } = size;
  const { child, port } = await bench.receiver(`limits: {connections: ${2 * AT_ONCE}}`);
  const endpoint: Endpoint = {
    name: 'replica',
    host: 'localhost',
    port,
    url: 'foo.r/!replica',
    key: readFileSync(bench.path('..', 'key')),
    tls: { verify: true, ca: readFileSync(bench.path('..', 'cert.pem')), servername: null },
    timeouts: { connectMs: 10_000, idleMs: 30_000, applyMs: 30_000 },
    ...kind,
  };
  const free = Array.from({ length: routes }, () => ({
    stream: randomBytes(16).toString('hex'),
    sequence: 0,
  }));
  const data = randomBytes(bytes);
  const sha256 = createHash('sha256').update(data).digest('hex');
  let left = routes * perRoute;
  // A route's next batch begins when its last one is confirmed.
  const sender = async (): Promise<void> => {
    for (;;) {
      const route = free.shift();
      if (route === undefined || left === 0) return;
      left -= 1;
      const previous = route.sequence;
      route.sequence += 1;
      await over({
        endpoint,
        body: { kind: 'batch' },
        bytes,
        payload: once(data),
        identity: { ...route, previous, sha256 },
        mayConfirm: () => true,
        signal: new AbortController().signal,
      });
      free.push(route);
    }
  };
  const cpu = () => [process.pid, child.pid].map((pid) => cpuSeconds({ pids: [pid] }));
  const before = cpu();
  const begun = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, sender));
  const ms = performance.now() - begun;
  const [sending = 0, receiving = 0] = cpu().map((seconds, i) => seconds - (before[i] ?? 0));
  const batches = routes * perRoute;
  return {
    'batches/s': (batches / ms) * 1_000,
    [SENDER]: (sending / batches) * 1_000,
    'receiver’s CPU, ms per batch': (receiving / batches) * 1_000,
  };
}

/** Milliseconds of the sender's processor per batch, over each of the wires. */
export async function overBothWires(lab: Lab, size: Size): Promise<{ old: number; h2: number }> {
  const h2 = new H2Client();
  const run = async (over: Send, dialect: Endpoint['dialect']): Promise<number> => {
    const sample = await lab.measure((bench) =>
      confirmed(bench, over, { dialect, confirm: 'applied' }, size),
    );
    return sample[SENDER] ?? Number.NaN;
  };
  const old = await run(send, 'acked');
  const both = { old, h2: await run((request) => h2.send(request), 'h2') };
  await Promise.all([h2.close(), connectionsSettled()]);
  return both;
}

export const wires: Comparison = {
  name: 'wires',
  title: 'The two wires to a receiver of ours',
  text: `Small batches (${BYTES} bytes) of many routes, ${AT_ONCE} at once, each on the receiver's disk before it is confirmed and before the route's next one begins. The old wire with its connection for each batch, sessions resumed, and HTTP/2 with one that is kept. Without Redis and spool, so that the wire is what differs.`,
  rounds: 3,
  async run(lab, { rounds, quick }) {
    const [routes, perRoute] = quick ? [50, 4] : [1_000, 16];
    const h2 = new H2Client();
    const run = (over: Send, dialect: Endpoint['dialect'], confirm: Endpoint['confirm']) => () =>
      lab.measure((bench) =>
        confirmed(bench, over, { dialect, confirm }, { bytes: BYTES, routes, perRoute }),
      );
    const samples = await interleaved(
      rounds,
      {
        'old wire': run(send, 'acked', 'applied'),
        'old wire, confirm: acked': run(send, 'acked', 'acked'),
        'HTTP/2': run((request) => h2.send(request), 'h2', 'applied'),
      },
      lab.say,
    );
    await Promise.all([h2.close(), connectionsSettled()]);
    const figures = ['batches/s', SENDER, 'receiver’s CPU, ms per batch'];
    return {
      tables: [medians(samples, figures)],
      verdicts: [
        atLeast(
          `${routes} routes over HTTP/2, against the old wire`,
          medianRatio(samples['HTTP/2'], samples['old wire'], 'batches/s'),
          3,
          'x',
        ),
      ],
    };
  },
};
