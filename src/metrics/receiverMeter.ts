import { Counter, Gauge, type Registry } from 'prom-client';
import type { ReceiverMeter } from '../common/meter.js';

/** The counters of a receiver. `app` is a name that a key was proved for. */
export function receiverMeter(registry: Registry, connections: () => number): ReceiverMeter {
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
      this.set(connections());
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
  };
}
