import { readdirSync, readFileSync } from 'node:fs';

/** Jiffies per second of /proc; fixed in Linux's interface. */
const TICKS_PER_SECOND = 100;
const SAMPLE_MS = 100;

/** Who counts: these processes, and all that serve this state directory (keeper, Redis). */
export interface Members {
  pids: readonly number[];
  stateDir?: string;
}

/** Proportional set size in MiB. */
export function pssMib(members: Members): number {
  let kib = 0;
  for (const pid of membersOf(members)) {
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    kib += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
  }
  return kib / 1024;
}

/** Processor seconds since each of them started. */
export function cpuSeconds(members: Members): number {
  let ticks = 0;
  for (const pid of membersOf(members)) {
    const stat = read(`/proc/${pid}/stat`);
    // Fields behind the name, which may hold anything: utime and stime are the 12th and 13th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** The highest PSS while something goes on. */
export class PeakPss {
  #peak = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(members: Members) {
    const look = (): void => {
      this.#peak = Math.max(this.#peak, pssMib(members));
    };
    look();
    this.#timer = setInterval(look, SAMPLE_MS);
  }

  /** MiB */
  end(): number {
    clearInterval(this.#timer);
    return this.#peak;
  }
}

function membersOf({ pids, stateDir }: Members): number[] {
  if (stateDir === undefined) return [...pids];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pids.includes(pid) || read(`/proc/${pid}/cmdline`).includes(stateDir));
}

/** Empty for a process that has ended meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
