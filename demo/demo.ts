import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from './certificate.js';
import { DemoProcess } from './demoProcess.js';

/**
 * The 60-second tour: a writer commits under its lock, `ferry run` ships over TLS, is killed in
 * the middle with SIGKILL and started again; at the end, what was written and what arrived are
 * compared byte for byte. Exit code 0 only when they are equal.
 */

const COMMITS = 400;
const BLOBS = 12;
/** Commits after which the shipping process is killed. */
const KILL_AFTER = 150;
const ARRIVAL_DEADLINE_MS = 60_000;

const ferry = fileURLToPath(new URL('../src/cli/ferry.cjs', import.meta.url));
const writer = fileURLToPath(new URL('./writer.js', import.meta.url));

/** Prints a step with the time since the start, as a reader of the demo wants to see it. */
const begun = performance.now();
function say(text: string): void {
  const seconds = ((performance.now() - begun) / 1000).toFixed(1).padStart(5);
  process.stdout.write(`${seconds}s  ${text}\n`);
}

async function main(): Promise<boolean> {
  const root = await mkdtemp(join(tmpdir(), 'ferry-demo-'));
  const started: DemoProcess[] = [];
  try {
    await mkdir(join(root, 'fifo'));
    await mkdir(join(root, 'blob'));
    await writeFile(join(root, 'key'), `${randomBytes(16).toString('hex')}\n`, { mode: 0o600 });
    const { cert, key } = await makeCertificate();
    await writeFile(join(root, 'cert.pem'), cert);
    await writeFile(join(root, 'cert.key'), key, { mode: 0o600 });

    await writeFile(join(root, 'receiver.yaml'), receiverConfig());
    const receiver = new DemoProcess(ferry, ['receiver', '-c', 'receiver.yaml'], root);
    started.push(receiver);
    const listening = await receiver.line(/"port":\s*(\d+)/);
    say(`receiver listens on 127.0.0.1:${listening[1]} (TLS)`);

    await writeFile(join(root, 'ferry.yaml'), senderConfig(Number(listening[1])));
    let shipper = new DemoProcess(ferry, ['run', '-c', 'ferry.yaml'], root);
    started.push(shipper);
    const redis = await shipper.line(/embedded Redis: ([^"]*)/);
    await shipper.line(/producer started/);
    say(`ferry run started: producer, worker, embedded Redis (${redis[1]})`);

    const commits = new DemoProcess(
      writer,
      ['fifo/foo', 'blob', String(COMMITS), String(BLOBS)],
      root,
    );
    started.push(commits);
    await commits.line(new RegExp(`^committed ${KILL_AFTER}$`, 'm'));
    say(`writer has committed ${KILL_AFTER} times under its lock; killing ferry run with SIGKILL`);
    await shipper.kill();
    await commits.line(/^committed 220$/m);
    say('the writer went on meanwhile; starting ferry run again');
    shipper = new DemoProcess(ferry, ['run', '-c', 'ferry.yaml'], root);
    started.push(shipper);

    const report = await commits.line(/^written (\d+) ([0-9a-f]{64})$/m);
    await commits.exited();
    const written = { bytes: Number(report[1]), sha256: report[2] ?? '' };
    say(`writer is done: ${COMMITS} commits, ${written.bytes} bytes, ${BLOBS} blobs`);

    const equal = await compare(root, written);
    for (const one of started) await one.stop();
    return equal;
  } finally {
    for (const one of started) await one.stop();
    // The embedded Redis ends a moment after its last user.
    await rm(root, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

async function compare(root: string, written: { bytes: number; sha256: string }): Promise<boolean> {
  const app = join(root, 'received', 'foo.r');
  const deadline = performance.now() + ARRIVAL_DEADLINE_MS;
  let arrived = { bytes: 0, sha256: '', batches: 0 };
  let blobs = 0;
  // Polling a directory: the receiver is another process, and files are all it shares with us.
  while (performance.now() < deadline) {
    arrived = await digestOfBatches(join(app, 'batches'));
    blobs = await equalBlobs(join(root, 'blob'), join(app, 'blobs'));
    if (arrived.bytes >= written.bytes && blobs === BLOBS) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  say(`written  ${written.bytes} bytes  sha256 ${written.sha256}`);
  say(
    `arrived  ${arrived.bytes} bytes  sha256 ${arrived.sha256}  (${arrived.batches} batches, in order)`,
  );
  const equal =
    arrived.bytes === written.bytes && arrived.sha256 === written.sha256 && blobs === BLOBS;
  say(
    `${equal ? 'EQUAL' : 'DIFFERENT'}: journal ${arrived.bytes} of ${written.bytes} bytes, sha256 ${
      arrived.sha256 === written.sha256 ? 'equal' : 'different'
    }; blobs ${blobs} of ${BLOBS} equal; one SIGKILL in the middle`,
  );
  return equal;
}

async function digestOfBatches(
  dir: string,
): Promise<{ bytes: number; sha256: string; batches: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const names = (await readdir(dir).catch(() => [])).filter((name) => name.endsWith('.batch'));
  for (const name of names.sort()) {
    for await (const chunk of createReadStream(join(dir, name))) {
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
    }
  }
  return { bytes, sha256: hash.digest('hex'), batches: names.length };
}

/** How many files of the blob directory arrived with the same content. */
async function equalBlobs(from: string, to: string): Promise<number> {
  let equal = 0;
  for (const name of await readdir(join(from, 'files')).catch(() => [])) {
    const sent = await readFile(join(from, 'files', name));
    const got = await readFile(join(to, 'files', name)).catch(() => null);
    if (got?.equals(sent)) equal += 1;
  }
  return equal;
}

function receiverConfig(): string {
  return `receiver:
  listen: 127.0.0.1:0
  tls: {cert: ./cert.pem, key: ./cert.key}
  data: ./received
  apps:
    - name: foo.r
      keys: [./key]
`;
}

function senderConfig(port: number): string {
  return `redis: embedded
state: ./state
destinations:
  replica:
    host: localhost
    port: ${port}
    url: "{journal}.r/!replica"
    key: ./key
    tls: {verify: true, ca: ./cert.pem}
journals:
  - name: foo
    path: fifo/foo
    blobs: blob/
    to: replica
    interval: 1s
`;
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
