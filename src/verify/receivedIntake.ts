import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FerryError, systemCode } from '../common/errors.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import { INTAKE_FOLDER } from '../receiver/intake/intake.js';
import { type Leftover, type Leftovers, readLeftovers } from '../receiver/intake/leftovers.js';
import type { Findings } from './findings.js';

/** A segment that is being written or removed may look wrong for a moment. */
const TRIES = 4;
const PAUSE_MS = 100;

/**
 * What a receiver's intake holds of its apps: accepted, and perhaps not durable in its place. After
 * a kill or a power cut the next start makes it again.
 */
export class ReceivedIntake {
  readonly #folder: string;
  readonly #findings: Findings;
  #known: { looks: string; read: Leftovers } | null = null;
  #isTold = false;

  constructor(received: string, findings: Findings) {
    this.#folder = join(received, INTAKE_FOLDER);
    this.#findings = findings;
  }

  /** By number, as things are now. Damage is said once. */
  async of(app: string): Promise<ReadonlyMap<number, Leftover>> {
    const { apps } = await this.#look();
    return new Map((apps.get(app) ?? []).map((one) => [one.record.number, one]));
  }

  async #look(): Promise<Leftovers> {
    for (let tries = 1; ; tries += 1) {
      try {
        const looks = await this.#looks();
        if (this.#known?.looks !== looks) {
          this.#known = { looks, read: await readLeftovers(nodeFileSystem, this.#folder, 'only') };
        }
        return this.#known.read;
      } catch (error) {
        const isOurs = error instanceof FerryError;
        // A receiver of a version without one, or a segment that was just removed.
        if (!isOurs && systemCode(error) !== 'ENOENT') throw error;
        if (tries < TRIES) {
          await sleep(PAUSE_MS);
          continue;
        }
        if (isOurs && !this.#isTold) {
          this.#isTold = true;
          const { code, message: what, hint = '' } = error;
          this.#findings.differs({ code, what, do: hint });
        }
        return { names: [], apps: new Map() };
      }
    }
  }

  /** Changes with whatever is written there. */
  async #looks(): Promise<string> {
    const names = await nodeFileSystem.readdir(this.#folder).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    });
    const sizes: string[] = [];
    for (const name of names.sort()) {
      sizes.push(`${name} ${(await stat(join(this.#folder, name))).size}`);
    }
    return sizes.join('\n');
  }
}
