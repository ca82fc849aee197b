import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FerryError } from '../common/errors.js';
import type { StartProgress } from '../common/progress.js';
import { batchFileName } from '../receiver/batchStore.js';
import type { ChainLine } from './chainLine.js';
import { Findings, type Found, type OnBytes } from './findings.js';
import { proveApp } from './receivedApp.js';
import { ReceivedIntake } from './receivedIntake.js';
import type { ReceivedProof } from './report.js';

export interface ReceivedOptions {
  /** null: all that are there. */
  app: string | null;
  /** What senders said of their side. */
  expect: readonly ChainLine[];
  /** Batches up to this number were removed on purpose after their use. */
  removed: number;
  progress: StartProgress;
}

/**
 * Proves from the receiver's side that what was accepted is there: complete, unchanged and in
 * order. Reads only; the receiver may be at work or not.
 *
 * @throws FerryError NO_DATA_FOLDER, APP_UNKNOWN (kind usage)
 */
export async function verifyReceived(
  received: string,
  options: ReceivedOptions,
): Promise<ReceivedProof> {
  const apps = await appsIn(received, options.app);
  const findings = new Findings();
  const intake = new ReceivedIntake(received, findings);
  const shown = options.progress('reading what was received', 'bytes');
  const total = await bytesIn(received, apps);
  let done = 0;
  const onBytes: OnBytes = (bytes) => {
    done += bytes;
    shown.at(done, total);
  };
  const proofs: ReceivedProof['apps'] = [];
  const met: [ChainLine, Found | null][] = [];
  try {
    for (const app of apps) {
      const parts = { ...options, onBytes, intake };
      const proved = await proveApp(join(received, app), app, parts, findings);
      proofs.push(proved.proof);
      met.push(...proved.met);
    }
  } finally {
    shown.end();
  }
  for (const line of options.expect) expectLine(line, met, findings, options.app);
  return { ...findings.proof(), received, apps: proofs };
}

/** Several routes of one journal may lead here, each to an app of its own: one must be equal. */
function expectLine(
  line: ChainLine,
  met: readonly [ChainLine, Found | null][],
  findings: Findings,
  app: string | null,
): void {
  const found = met.filter(([one]) => one === line).map(([, why]) => why);
  if (found.includes(null)) return;
  for (const why of found) if (why !== null) findings.differs(why);
  if (found.length > 0) return;
  findings.differs({
    ...{ code: 'STREAM_UNKNOWN', app },
    what: `nothing of the stream ${line.stream} was accepted here`,
    do: 'look whether this is the folder, and the app, that the route leads to',
  });
}

async function appsIn(received: string, wanted: string | null): Promise<string[]> {
  const names = await readdir(received, { withFileTypes: true }).catch((cause: unknown) => {
    throw new FerryError('NO_DATA_FOLDER', `${received} cannot be read`, {
      kind: 'usage',
      hint: 'name the folder that stands under receiver.data in the receiver’s ferry.yaml',
      cause,
    });
  });
  const apps: string[] = [];
  for (const entry of names) {
    if (entry.isDirectory() && (await isThere(join(received, entry.name, 'batches')))) {
      apps.push(entry.name);
    }
  }
  if (wanted === null) return apps.sort();
  if (apps.includes(wanted)) return [wanted];
  throw new FerryError('APP_UNKNOWN', `there is no app ${wanted} in ${received}`, {
    kind: 'usage',
    hint: apps.length === 0 ? 'nothing has arrived there' : `there are: ${apps.join(', ')}`,
  });
}

/** By the length of some: to look at each would take as long as the work of a small folder. */
const SAMPLES = 64;

async function bytesIn(received: string, apps: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const app of apps) {
    const dir = join(received, app, 'batches');
    const count = (await readdir(dir)).length;
    const step = Math.max(1, Math.floor(count / SAMPLES));
    let sampled = 0;
    let samples = 0;
    for (let number = 1; number <= count; number += step) {
      const file = await stat(join(dir, batchFileName(number))).catch(() => null);
      sampled += file?.size ?? 0;
      samples += 1;
    }
    if (samples > 0) bytes += Math.round((sampled / samples) * count);
  }
  return bytes;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
}
