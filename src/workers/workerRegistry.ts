import { mkdir, readdir, rename, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { FerryError } from '../common/errors.js';
import { type HeldLock, tryTakeLock } from '../common/fileLock.js';
import type { QueueAccess } from '../queue/access.js';

/**
 * The kernel goes on sending what a killed worker had written, its `T` perhaps included. That is to
 * arrive before anything else does: behind a later batch it would corrupt a PicoLisp replica. So
 * its lease lives on for a moment, longer than a far side usually lets data lie.
 */
const LAST_WORDS_MS = 5_000;

/**
 * Who works on this host with this state directory: a locked file per worker. The kernel drops
 * the lock of a worker that was killed, which proves that it is gone; so its leases are cut
 * short. Workers on other hosts are not seen here, and their leases run their time.
 */
export class WorkerRegistry {
  readonly #dir: string;
  readonly #workerId: string;
  #own: HeldLock | null = null;

  constructor(stateDir: string, prefix: string, workerId: string) {
    // Pipelines with Redis prefixes of their own may share a state directory.
    this.#dir = join(stateDir, 'workers', prefix);
    this.#workerId = workerId;
  }

  /** @throws FerryError WORKER_LOCK when the file system of the state directory has no locks */
  async enter(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    // Locked before it has a name that others look at: a file without a lock means a dead worker.
    const path = join(this.#dir, this.#workerId);
    const draft = join(this.#dir, `.${this.#workerId}`);
    this.#own = await tryTakeLock(draft, 'exclusive');
    if (this.#own === null) {
      throw new FerryError('WORKER_LOCK', `cannot lock ${draft}`, {
        kind: 'storage',
        hint: 'put the state directory on a local disk',
      });
    }
    await rename(draft, path);
  }

  async leave(): Promise<void> {
    if (this.#own === null) return;
    await unlink(join(this.#dir, this.#workerId)).catch(() => undefined);
    await this.#own.release();
    this.#own = null;
  }

  /**
   * Cuts short the leases of workers of this state directory that are gone, and wakes their
   * batches. The job that such a worker had taken comes back by itself later, and finds its batch
   * delivered.
   */
  async cutLeasesOfTheDead(access: QueueAccess, log: Logger): Promise<void> {
    const dead = new Map<string, HeldLock>();
    try {
      for (const workerId of await readdir(this.#dir)) {
        // Locks of another host are not seen on a shared disk.
        if (workerId === this.#workerId || !workerId.startsWith(`${hostname()}.`)) continue;
        const lock = await tryTakeLock(join(this.#dir, workerId), 'exclusive');
        if (lock !== null) dead.set(workerId, lock); // else it is alive
      }
      if (dead.size > 0) await this.#cutLeases([...dead.keys()], access, log);
    } finally {
      for (const lock of dead.values()) await lock.release();
    }
  }

  async #cutLeases(dead: readonly string[], access: QueueAccess, log: Logger): Promise<void> {
    for (const route of await access.order.routes()) {
      const state = await access.order.state(route);
      const owner = dead.find((workerId) => state?.holder.startsWith(`${workerId}.`));
      if (state === null || owner === undefined) continue;
      const job = await access.order.accepted(route, state.head);
      if (job === null) continue;
      if (!(await access.order.endLease(job, state.holder, LAST_WORDS_MS))) continue;
      log.info(
        { route, sequence: state.head, inMs: LAST_WORDS_MS },
        'a worker was killed while it sent this batch; it is sent again in a moment',
      );
      await access.queues.nudgeBatch(job, state.epoch);
    }
    for (const workerId of dead) await unlink(join(this.#dir, workerId)).catch(() => undefined);
  }
}
