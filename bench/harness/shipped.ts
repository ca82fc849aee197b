import { writeFileSync } from 'node:fs';
import type { Child } from '../../chaos/household.js';
import { type Bench, fill, msBetween } from './lab.js';
import type { Sink } from './sink.js';

const ARRIVAL_MS = 600_000;

/** `ferry run` with one journal `foo`, empty so far. @param more further fields, `, blobs: blob/` */
export function runOne(bench: Bench, sink: Sink, more = ''): Promise<Child> {
  writeFileSync(bench.path('fifo', 'foo'), '');
  bench.configure({
    ports: { replica: sink.port },
    journals: [`name: foo, path: fifo/foo, to: replica, interval: 1s${more}`],
  });
  return bench.ferry('run');
}

/**
 * Seconds from a journal that is there all at once to the `T` of the far side. The shipper stands
 * still (SIGSTOP) while it is written, so that every contender begins with all of it.
 */
export async function secondsToShip(
  shipper: Child,
  sink: Sink,
  journal: string,
  bytes: number,
): Promise<number> {
  shipper.signal('SIGSTOP');
  await fill(journal, bytes);
  const begun = process.hrtime.bigint();
  shipper.signal('SIGCONT');
  const [arrival] = await sink.until('it arrived', ({ length }) => length > 0, ARRIVAL_MS);
  if (arrival?.bytes !== bytes) throw new Error(`${arrival?.bytes} bytes arrived, not ${bytes}`);
  return msBetween(begun, arrival.atNs) / 1_000;
}
