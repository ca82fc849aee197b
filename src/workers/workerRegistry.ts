import { mkdir, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { QueueAccess } from '../queue/access.js';
import { type HeldLock, tryTakeLock } from '../shared/fileLock.js';

/**
 * Who works on this host with this state directory: a locked file per worker. The kernel drops
 * the lock of a worker that was killed, which proves that it is gone; so its leases need not be
 * waited out. Workers on other hosts are not seen here, and their leases run their time.
 */
export class WorkerRegistry {
  readonly #dir: string;
  readonly #workerId: string;
  #own: HeldLock | null = null;

  constructor(stateDir: string, workerId: string) {
    this.#dir = join(stateDir, 'workers');
    this.#workerId = workerId;
  }

  async enter(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    this.#own = await tryTakeLock(join(this.#dir, this.#workerId), 'exclusive');
  }

  async leave(): Promise<void> {
    if (this.#own === null) return;
    await unlink(join(this.#dir, this.#workerId)).catch(() => undefined);
    await this.#own.release();
    this.#own = null;
  }

  /**
   * Gives back the leases of workers of this state directory that are gone, and wakes their
   * batches. The job that such a worker had taken comes back by itself later, and finds its batch
   * delivered.
   */
  async freeLeasesOfTheDead(access: QueueAccess, log: Logger): Promise<void> {
    const dead: string[] = [];
    for (const workerId of await readdir(this.#dir)) {
      if (workerId === this.#workerId) continue;
      const lock = await tryTakeLock(join(this.#dir, workerId), 'exclusive');
      if (lock === null) continue; // alive
      dead.push(workerId);
      await lock.release();
    }
    if (dead.length === 0) return;
    for (const route of await access.order.routes()) {
      const state = await access.order.state(route);
      const owner = dead.find((workerId) => state?.holder.startsWith(`${workerId}.`));
      if (state === null || owner === undefined) continue;
      const job = await access.order.accepted(route, state.head);
      if (job === null || !(await access.order.release(job, state.holder))) continue;
      log.info(
        { route, sequence: state.head },
        'a worker was killed while it sent this batch; it goes on now',
      );
      await access.queues.nudgeBatch(job, state.epoch);
    }
    for (const workerId of dead) await unlink(join(this.#dir, workerId)).catch(() => undefined);
  }
}
