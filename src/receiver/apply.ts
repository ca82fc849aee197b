import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tryLock } from 'fs-native-extensions';
import type { Logger } from 'pino';
import { crashPoint } from '../common/crashPoints.js';
import { FerryError, systemCode } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { ReceiverMeter } from '../common/meter.js';
import type { OpenFile } from '../common/openFile.js';
import { clearTrouble, noteTrouble } from './applyTrouble.js';
import type { BatchStore } from './batchStore.js';
import { writeFully } from './writing.js';

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** How often a command that a killed receiver has left is looked after. */
const LEFTOVER_LOOK_MS = 200;
/** A command that ignores SIGTERM gets SIGKILL after this. */
const KILL_AFTER_TERM_MS = 1_000;

export interface ApplierOptions {
  app: string;
  /** The app's folder; the position is its file `applied`. */
  folder: string;
  /** Program and arguments. */
  command: readonly string[];
  store: BatchStore;
  fs: FileSystem;
  meter: ReceiverMeter;
  log: Logger;
}

/** How waiting for a batch to be applied ends. */
export type ApplyEnd =
  | 'applied'
  /** The command has failed, at this batch or at one before it. */
  | 'failed'
  /** Whoever waited has left, or the receiver stops. */
  | 'left';

interface Waiter {
  number: number;
  untilFailed: boolean;
  resolve(end: ApplyEnd): void;
}

/**
 * Runs the operator's command once per accepted batch, in order: the batch on standard input,
 * FERRY_APP, FERRY_SEQ (the receiver's number) and FERRY_BATCH (the file) in the environment. Its
 * output goes to our standard error.
 *
 *     waiting --stored--> running --exit 0--> position durable --> running | waiting
 *                            +--other end--> pausing (1 s, doubling to 60 s) --> running
 *
 * A batch whose command ended well right before a crash is given to the command once more. One
 * command at a time, also when a receiver was killed and its command was not: each command inherits
 * a locked file, and the next receiver waits until nobody has it any more.
 */
export class Applier {
  readonly #options: ApplierOptions;
  readonly #stop = new AbortController();
  readonly #lock: FileHandle;
  #applied = 0;
  #stopping = false;
  #wake: () => void = () => undefined;
  readonly #waiters = new Set<Waiter>();
  #done: Promise<void> = Promise.resolve();

  private constructor(options: ApplierOptions, lock: FileHandle) {
    this.#options = options;
    this.#lock = lock;
  }

  /** Reads the position and begins. @throws FerryError APPLIED_UNREADABLE */
  static async start(options: ApplierOptions): Promise<Applier> {
    const applied = await readPosition(join(options.folder, 'applied'));
    const flags = constants.O_RDWR | constants.O_CREAT;
    const lock = await open(join(options.folder, 'apply.lock'), flags, 0o600);
    const applier = new Applier(options, lock);
    applier.#applied = applied;
    // What it was about may be mended by now; else it will be said again.
    await applier.#tellTrouble(() => clearTrouble(options.folder));
    applier.#done = applier.#loop();
    return applier;
  }

  /** The number of the last batch that the command has done. */
  get applied(): number {
    return this.#applied;
  }

  /**
   * Waits until a batch is applied, durably noted.
   * @param options `left`: ends the wait. `untilFailed`: so does a failure of the command
   */
  whenApplied(
    number: number,
    { left, untilFailed }: { left: AbortSignal; untilFailed: boolean },
  ): Promise<ApplyEnd> {
    if (number <= this.#applied) return Promise.resolve('applied');
    if (left.aborted || this.#stopping) return Promise.resolve('left');
    return new Promise((resolve) => {
      const onLeft = () => waiter.resolve('left');
      const waiter: Waiter = {
        number,
        untilFailed,
        resolve: (end) => {
          left.removeEventListener('abort', onLeft);
          this.#waiters.delete(waiter);
          resolve(end);
        },
      };
      left.addEventListener('abort', onLeft, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** New batches may be there. */
  notify(): void {
    this.#wake();
  }

  /** Lets a running command finish until `killAfterMs`, then ends it. No further one is begun. */
  async stop(killAfterMs: number): Promise<void> {
    this.#stopping = true;
    for (const waiter of [...this.#waiters]) waiter.resolve('left');
    this.#wake();
    const timer = setTimeout(() => this.#stop.abort(), killAfterMs);
    await this.#done;
    clearTimeout(timer);
    // Closed and not unlocked: what our command has left behind keeps the lock as long as it lives.
    await this.#lock.close();
  }

  async #loop(): Promise<void> {
    const { store, log, app, meter, folder } = this.#options;
    let pauseMs = RETRY_FIRST_MS;
    let attempts = 0;
    await this.#leftoverGone();
    while (!this.#stopping) {
      const number = this.#applied + 1;
      if (number > store.lastNumber) {
        await this.#sleep(null);
        continue;
      }
      try {
        await this.#run(number);
        crashPoint('receiver.applied');
        await this.#note(number);
        if (attempts > 0) await this.#tellTrouble(() => clearTrouble(folder));
        pauseMs = RETRY_FIRST_MS;
        attempts = 0;
        meter.applied(app);
        this.#tellWaiters();
      } catch (error) {
        if (this.#stopping) return;
        attempts += 1;
        meter.applyFailed(app);
        log.error({ err: error, app, number, retryInMs: pauseMs }, 'apply failed');
        await this.#tellTrouble(() => noteTrouble(folder, { number, attempts, error }));
        for (const waiter of [...this.#waiters]) if (waiter.untilFailed) waiter.resolve('failed');
        await this.#sleep(pauseMs);
        pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS);
      }
    }
  }

  /** Waits for what a killed receiver's command has left. */
  async #leftoverGone(): Promise<void> {
    const { app, folder, log } = this.#options;
    let said = false;
    while (!this.#stopping && !tryLock(this.#lock.fd)) {
      if (!said) {
        said = true;
        const number = this.#applied + 1;
        const error = new FerryError('APPLY_STILL_RUNNING', 'a command of before still runs', {
          kind: 'storage',
          hint: 'the receiver was killed and its apply command was not: wait for it, or end it',
        });
        log.warn({ err: error, app }, 'apply waits');
        await this.#tellTrouble(() => noteTrouble(folder, { number, attempts: 0, error }));
      }
      await this.#sleep(LEFTOVER_LOOK_MS);
    }
    if (said) await this.#tellTrouble(() => clearTrouble(folder));
  }

  #tellWaiters(): void {
    for (const waiter of [...this.#waiters]) {
      if (waiter.number <= this.#applied) waiter.resolve('applied');
    }
  }

  async #tellTrouble(tell: () => Promise<void>): Promise<void> {
    const { log, app } = this.#options;
    await tell().catch((error: unknown) => log.warn({ err: error, app }, 'status not written'));
  }

  /** Until stopped, or for `ms` whatever arrives; null: until there is something new. */
  #sleep(ms: number | null): Promise<void> {
    if (this.#stopping) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = ms === null ? undefined : setTimeout(end, ms);
      // A new batch is no reason to retry an old one sooner.
      this.#wake = () => {
        if (ms === null || this.#stopping) end();
      };
    });
  }

  async #run(number: number): Promise<void> {
    const { store, fs, app, command } = this.#options;
    const path = store.pathOf(number);
    const [program = '', ...args] = command;
    let batch: OpenFile;
    try {
      batch = await fs.open(path, constants.O_RDONLY);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      throw new FerryError('BATCH_MISSING', `${path} is not there`, {
        kind: 'storage',
        hint: 'bring it back, or write a higher number into the file `applied` while stopped',
        cause: error,
      });
    }
    try {
      await new Promise<void>((resolve, reject) => {
        const child = spawn(program, args, {
          stdio: [batch.fd, 2, 2, this.#lock.fd],
          env: { ...process.env, FERRY_APP: app, FERRY_SEQ: String(number), FERRY_BATCH: path },
        });
        let killer: NodeJS.Timeout | undefined;
        const onStop = () => {
          child.kill('SIGTERM');
          killer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_TERM_MS);
        };
        this.#stop.signal.addEventListener('abort', onStop, { once: true });
        child.once('error', reject);
        child.once('exit', (code, signal) => {
          clearTimeout(killer);
          this.#stop.signal.removeEventListener('abort', onStop);
          if (code === 0) resolve();
          else reject(failed(number, code, signal));
        });
      });
    } finally {
      await batch.close();
    }
  }

  async #note(number: number): Promise<void> {
    const { fs, folder } = this.#options;
    const fresh = join(folder, 'applied.new');
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC;
    const handle = await fs.open(fresh, flags, 0o600);
    try {
      await writeFully(handle, [Buffer.from(`${number}\n`)], 0);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(fresh, join(folder, 'applied'));
    await fs.syncDirectory(folder);
    this.#applied = number;
  }
}

function failed(number: number, code: number | null, signal: string | null): FerryError {
  const how = code === null ? `was ended by ${signal}` : `exited with ${code}`;
  return new FerryError('APPLY_FAILED', `the apply command ${how} at batch ${number}`, {
    kind: 'storage',
    hint: 'its output is on the receiver’s standard error; later batches wait',
    context: { number, code, signal },
  });
}

/** The number in a file `applied`; 0 when there is none. @throws FerryError APPLIED_UNREADABLE */
export async function readPosition(path: string): Promise<number> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return '0\n';
    throw error;
  });
  if (!/^[0-9]{1,15}\n?$/.test(text)) {
    throw new FerryError('APPLIED_UNREADABLE', `${path} does not hold a number`, {
      kind: 'storage',
      hint: 'write the number of the last applied batch into it',
    });
  }
  return Number(text.trim());
}
