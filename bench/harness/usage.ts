import { readdirSync, readFileSync } from 'node:fs';

/** Jiffies per second of /proc; fixed in Linux's interface. */
const TICKS_PER_SECOND = 100;
const SAMPLE_MS = 100;
/** Where they are among the fields behind the name. */
const [PARENT, UTIME, STIME] = [1, 11, 12];

/** Who counts: these processes, and all that serve this state directory (keeper, Redis). */
export interface Members {
  pids: readonly number[];
  stateDir?: string;
}

/** Proportional set size in MB: megabytes, as the targets have it. */
export function pssMb(members: Members): number {
  let kib = 0;
  for (const pid of membersOf(members)) {
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    kib += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
  }
  return (kib * 1024) / 1e6;
}

/** Processor seconds since each of them started. */
export function cpuSeconds(members: Members): number {
  let ticks = 0;
  for (const pid of membersOf(members)) {
    const fields = statFields(pid);
    ticks += Number(fields[UTIME] ?? 0) + Number(fields[STIME] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** The highest PSS while something goes on. */
export class PeakPss {
  #peak = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(members: Members) {
    const look = (): void => {
      this.#peak = Math.max(this.#peak, pssMb(members));
    };
    look();
    this.#timer = setInterval(look, SAMPLE_MS);
  }

  /** MB */
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

/** All processes that this one has started, and theirs; a snapshot. */
export function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = statFields(Number(name))[PARENT];
    if (parent === undefined) continue;
    const siblings = children.get(Number(parent)) ?? [];
    children.set(Number(parent), [...siblings, Number(name)]);
  }
  const found: number[] = [];
  for (let open = children.get(pid) ?? []; open.length > 0; ) {
    found.push(...open);
    open = open.flatMap((one) => children.get(one) ?? []);
  }
  return found;
}

/** The fields of /proc/PID/stat behind the name, which may hold anything. */
function statFields(pid: number): string[] {
  const stat = read(`/proc/${pid}/stat`);
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Empty for a process that has ended meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
