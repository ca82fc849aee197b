import { randomFillSync } from 'node:crypto';
import { constants, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../demo/certificate.js';
import { DemoProcess } from '../demo/demoProcess.js';
import { JournalWriter } from '../test/support/journalWriter.js';

/**
 * How long does a committing writer wait for the lock while a huge journal is captured, and how
 * much memory does the pipeline take meanwhile? Measured beside what one `ftruncate` of a
 * written-back file of that size takes on the same file system, in the same run.
 *
 * usage: node dist/bench/lockWait.js [MiB] [trim]
 */
const MIB = 1024 * 1024;
const size = Number(process.argv[2] ?? 512) * MIB;
const trim = process.argv[3] === 'trim';

const ferry = fileURLToPath(new URL('../src/cli/ferry.cjs', import.meta.url));
const SAMPLE_MS = 100;
const ARRIVAL_MS = 240_000;

async function fill(path: string, bytes: number): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
  const block = Buffer.allocUnsafe(8 * MIB);
  for (let at = 0; at < bytes; at += block.length) {
    await file.write(randomFillSync(block), 0, Math.min(block.length, bytes - at));
  }
  await file.sync();
  await file.close();
}

/** Milliseconds of one `ftruncate(0)` of a written-back file; the median of three. */
async function ftruncateMs(dir: string): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 3; i += 1) {
    const path = join(dir, 'truncated');
    await fill(path, size);
    const file = await open(path, 'r+');
    const begun = performance.now();
    await file.truncate(0);
    times.push(performance.now() - begun);
    await file.close();
    await rm(path);
  }
  return times.sort((a, b) => a - b)[1] ?? 0;
}

/** Proportional set size in MiB: of these processes, and of those that serve this state directory. */
async function pssMib(stateDir: string, pids: readonly number[]): Promise<number> {
  let kib = 0;
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      if (!pids.includes(Number(name)) && !command.includes(stateDir)) continue;
      const rollup = readFileSync(`/proc/${name}/smaps_rollup`, 'utf8');
      kib += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    } catch {
      // ended meanwhile
    }
  }
  return kib / 1024;
}

async function receivedBytes(dir: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(dir).catch(() => [])) {
    bytes += (await stat(join(dir, name)).catch(() => ({ size: 0 }))).size;
  }
  return bytes;
}

async function main(): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'ferry-lock-'));
  const started: DemoProcess[] = [];
  try {
    const truncateMs = await ftruncateMs(root);
    await mkdir(join(root, 'fifo'));
    await writeFile(join(root, 'key'), 'a key\n', { mode: 0o600 });
    const { cert, key } = await makeCertificate();
    await writeFile(join(root, 'cert.pem'), cert);
    await writeFile(join(root, 'cert.key'), key, { mode: 0o600 });
    await writeFile(
      join(root, 'receiver.yaml'),
      'receiver: {listen: "127.0.0.1:0", tls: {cert: ./cert.pem, key: ./cert.key}, data: ./received, apps: [{name: foo.r, keys: [./key]}]}\n',
    );
    const receiver = new DemoProcess(ferry, ['receiver', '-c', 'receiver.yaml'], root);
    started.push(receiver);
    const port = (await receiver.line(/"port":\s*(\d+)/))[1];
    await writeFile(
      join(root, 'ferry.yaml'),
      `destinations:
  replica: {host: localhost, port: ${port}, url: "{journal}.r/!replica", key: ./key, tls: {ca: ./cert.pem}}
journals:
  - {name: foo, path: fifo/foo, to: replica, interval: 1s, flush: {trimAbove: ${trim ? '64MiB' : 'off'}}}
`,
    );
    const journal = join(root, 'fifo', 'foo');
    await fill(journal, size);
    const writer = new JournalWriter(journal, { bytesMax: 500, pauseMs: 1 });
    const shipper = new DemoProcess(ferry, ['run', '-c', 'ferry.yaml'], root);
    started.push(shipper);

    const begun = performance.now();
    let peakMib = 0;
    const batches = join(root, 'received', 'foo.r', 'batches');
    while ((await receivedBytes(batches)) < size) {
      if (performance.now() - begun > ARRIVAL_MS) throw new Error('it did not arrive in time');
      peakMib = Math.max(peakMib, await pssMib(join(root, 'state'), [shipper.pid, receiver.pid]));
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
    const seconds = (performance.now() - begun) / 1000;
    const report = await writer.stop();
    console.log(
      [
        `journal ${size / MIB} MiB, flush.trimAbove ${trim ? '64MiB' : 'off'}`,
        `ftruncate of a written-back file of that size: ${truncateMs.toFixed(1)} ms`,
        `writer's longest wait for the lock: ${report.longestWaitMs.toFixed(1)} ms in ${report.records} commits`,
        `delivered after ${seconds.toFixed(1)} s; peak PSS of sender, keeper, Redis and receiver: ${peakMib.toFixed(0)} MiB`,
      ].join('\n'),
    );
  } finally {
    for (const one of started) await one.stop();
    await rm(root, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

await main();
