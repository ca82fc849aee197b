/**
 * What the producer and the workers tell of their work as it happens. Each call is an addition in
 * memory: it never waits, never throws, and asks nobody.
 */
export interface Meter {
  /** A batch was sealed and taken out of its journal. `lockHeldMs`: how long writers were shut out. */
  captured(journal: string, batch: { bytes: number; lockHeldMs: number }): void;
  /** A batch is confirmed, and its route has moved on. */
  delivered(route: string, batch: { bytes: number; sealedAtMs: number }): void;
  deliveredBlob(route: string): void;
  /** `reason`: the error's stable code. */
  attemptFailed(route: string, reason: string): void;
}

/** What a receiver tells of its work, by the same rules. */
export interface ReceiverMeter {
  stored(app: string, batch: { bytes: number }): void;
  /** Known already: acked, and not stored again. */
  duplicate(app: string): void;
  storedBlob(app: string, blob: { bytes: number }): void;
  refused(reason: string): void;
  /** The apply command has done a batch. */
  applied(app: string): void;
  applyFailed(app: string): void;
}

const nothing = (): void => undefined;

/** Without `metrics` in the configuration nothing is counted. */
export const NO_METER: Meter = {
  captured: nothing,
  delivered: nothing,
  deliveredBlob: nothing,
  attemptFailed: nothing,
};

export const NO_RECEIVER_METER: ReceiverMeter = {
  stored: nothing,
  duplicate: nothing,
  storedBlob: nothing,
  refused: nothing,
  applied: nothing,
  applyFailed: nothing,
};
