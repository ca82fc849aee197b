import { freemem } from 'node:os';
import type { Lab } from './lab.js';

const MIB = 1024 * 1024;
const TOUCHED_MAX_MIB = 4 * 1024;

/**
 * Writes to a few GiB of memory and gives them back, before something large is measured. A virtual
 * machine that uses a page for the first time waits for its host; whoever comes first would pay
 * for that, and whoever comes second would not.
 */
export function touchMemory(lab: Lab): Promise<void> {
  const mib = Math.min(TOUCHED_MAX_MIB, Math.floor(freemem() / MIB / 2));
  return lab.measure(async (bench) => {
    await bench.program('touch', [`${mib}`]).line(/"touchedMib"/);
  });
}
