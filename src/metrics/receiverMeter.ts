import { Counter, Gauge, type Registry } from 'prom-client';
import type { ReceiverMeter } from '../common/meter.js';

/** What can be asked of a receiver at any time. */
export interface ReceiverGauges {
  connections(): number;
  /** `applied` is null where there is no apply command. */
  apps(): Iterable<{ app: string; stored: number; applied: number | null }>;
}

/** The counters of a receiver. `app` is a name that a key was proved for. */
export function receiverMeter(registry: Registry, receiver: ReceiverGauges): ReceiverMeter {
  const registers = [registry];
  const counter = (name: string, help: string, label: 'app' | 'reason'): Counter =>
    new Counter({ name, help, labelNames: [label], registers });
  const batches = counter('ferry_received_batches_total', 'Batches stored', 'app');
  const bytes = counter('ferry_received_bytes_total', 'Bytes of batches and blobs stored', 'app');
  const blobs = counter('ferry_received_blobs_total', 'Blobs stored', 'app');
  const repeats = counter('ferry_received_duplicates_total', 'Acked, as known already', 'app');
  const refused = counter('ferry_receiver_refused_total', 'Requests refused', 'reason');
  new Gauge({
    name: 'ferry_receiver_connections',
    help: 'Connections open now',
    registers,
    collect() {
      this.set(receiver.connections());
    },
  });
  const applied = counter('ferry_applied_batches_total', 'Done by the apply command', 'app');
  const failures = counter('ferry_apply_failures_total', 'Failures of the apply command', 'app');
  new Gauge({
    name: 'ferry_apply_waiting_batches',
    help: 'Batches stored and not applied',
    labelNames: ['app'],
    registers,
    collect() {
      this.reset();
      for (const { app, stored, applied: done } of receiver.apps()) {
        if (done !== null) this.set({ app }, stored - done);
      }
    },
  });
  return {
    stored(app, batch) {
      batches.inc({ app });
      bytes.inc({ app }, batch.bytes);
    },
    duplicate: (app) => repeats.inc({ app }),
    storedBlob(app, blob) {
      blobs.inc({ app });
      bytes.inc({ app }, blob.bytes);
    },
    refused: (reason) => refused.inc({ reason }),
    applied: (app) => applied.inc({ app }),
    applyFailed: (app) => failures.inc({ app }),
  };
}
