import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Meter } from '../common/meter.js';
import type { JournalGauges } from '../common/role.js';

/** Writers stand still meanwhile: from a good capture to one that they notice. */
const LOCK_HOLD_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2];
/** From a healthy route to one whose destination was away for an hour. */
const CONFIRM_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600];

/** The counters of producers and workers: additions in memory, in the order of the contract. */
export function pipelineMeter(registry: Registry): Meter {
  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]): Counter =>
    new Counter({ name, help, labelNames, registers });
  const capturedBatches = counter(
    'ferry_captured_batches_total',
    'Batches taken out of the journal',
    'journal',
  );
  const capturedBytes = counter('ferry_captured_bytes_total', 'Their bytes', 'journal');
  const deliveredBatches = counter('ferry_delivered_batches_total', 'Batches confirmed', 'route');
  const deliveredBytes = counter('ferry_delivered_bytes_total', 'Their bytes', 'route');
  const deliveredBlobs = counter('ferry_delivered_blobs_total', 'Blobs confirmed', 'route');
  const failed = counter(
    'ferry_attempts_failed_total',
    'Attempts without a confirmation, by error code',
    'route',
    'reason',
  );
  const lockHold = new Histogram({
    name: 'ferry_lock_hold_seconds',
    help: 'How long a capture held the lock of the journal',
    labelNames: ['journal'],
    buckets: LOCK_HOLD_SECONDS,
    registers,
  });
  const confirm = new Histogram({
    name: 'ferry_capture_to_confirm_seconds',
    help: 'From the seal of a batch to its confirmation',
    labelNames: ['route'],
    buckets: CONFIRM_SECONDS,
    registers,
  });
  return {
    captured(journal, { bytes, lockHeldMs }) {
      capturedBatches.inc({ journal });
      capturedBytes.inc({ journal }, bytes);
      lockHold.observe({ journal }, lockHeldMs / 1000);
    },
    delivered(route, { bytes, sealedAtMs }) {
      deliveredBatches.inc({ route });
      deliveredBytes.inc({ route }, bytes);
      // The producer's clock may be another host's.
      confirm.observe({ route }, Math.max(0, Date.now() - sealedAtMs) / 1000);
    },
    deliveredBlob: (route) => deliveredBlobs.inc({ route }),
    attemptFailed: (route, reason) => failed.inc({ route, reason }),
  };
}

/** The gauges of a producer, filled from its memory when somebody asks. */
export function journalGauges(registry: Registry, journals: () => Iterable<JournalGauges>): void {
  const registers = [registry];
  const gauge = (name: string, help: string, label: 'route' | 'journal'): Gauge =>
    new Gauge({ name, help, labelNames: [label], registers });
  // All are filled by one look, that of the first: they are collected in the order of their making.
  const spool = new Gauge({
    name: 'ferry_spool_bytes',
    help: 'The spool on the disk',
    labelNames: ['journal'],
    registers,
    collect: () => fill(),
  });
  const batches = gauge('ferry_route_pending_batches', 'Captured and not confirmed', 'route');
  const bytes = gauge('ferry_route_pending_bytes', 'Their bytes', 'route');
  const blocked = gauge('ferry_route_blocked', '1: its attempts are used up', 'route');
  const differs = gauge(
    'ferry_route_chain_differs',
    '1: spool and Redis disagree about what was confirmed',
    'route',
  );
  const age = gauge('ferry_route_oldest_age_seconds', 'Since the oldest seal; 0: none', 'route');
  const waiting = gauge('ferry_spool_waiting_bytes', 'Of them limits.spool is about', 'journal');
  const limit = gauge('ferry_spool_limit_bytes', 'limits.spool', 'journal');
  const archived = gauge('ferry_archive_batches', 'Delivered batches kept for replay', 'journal');
  const archivedBytes = gauge('ferry_archive_bytes', 'Their bytes', 'journal');
  const all = [
    spool,
    batches,
    bytes,
    blocked,
    differs,
    age,
    waiting,
    limit,
    archived,
    archivedBytes,
  ];
  const fill = (): void => {
    for (const one of all) one.reset();
    for (const { journal, routes, spoolBytes, waitingBytes, limitBytes, archive } of journals()) {
      spool.set({ journal }, spoolBytes);
      waiting.set({ journal }, waitingBytes);
      limit.set({ journal }, limitBytes);
      if (archive !== null) {
        archived.set({ journal }, archive.batches);
        archivedBytes.set({ journal }, archive.bytes);
      }
      for (const { route, ...now } of routes) {
        batches.set({ route }, now.batches);
        bytes.set({ route }, now.bytes);
        blocked.set({ route }, now.blocked ? 1 : 0);
        differs.set({ route }, now.chainDiffers ? 1 : 0);
        const since = now.oldestSealedAtMs ?? Date.now();
        age.set({ route }, Math.max(0, Date.now() - since) / 1000);
      }
    }
  };
}
