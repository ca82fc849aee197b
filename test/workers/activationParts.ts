import { pino } from 'pino';
import { NO_METER } from '../../src/common/meter.js';
import type { ActivationParts } from '../../src/workers/activation.js';
import { Complaints } from '../../src/workers/complaints.js';
import type { Place } from '../../src/workers/gate.js';
import { WorkerStop } from '../../src/workers/workerStop.js';

/** A place at a gate that nobody looks at. */
export const ANY_PLACE: Place = {
  leave: () => undefined,
  reached: () => undefined,
  unreached: () => undefined,
};

/** What a processor works with, of which a test gives as much of Redis and of sending as it needs. */
export function activationParts(parts: { order: object; delivery: object }): ActivationParts {
  return {
    ...parts,
    queues: {},
    stop: new WorkerStop(),
    complaints: new Complaints(),
    meter: NO_METER,
    log: pino({ level: 'silent' }),
    workerId: 'w',
  } as unknown as ActivationParts;
}
