import type { Sample } from './gauge.js';
import type { WeekOptions } from './options.js';
import { AHEAD, DESTINATIONS, type WeekSite } from './site.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Finished jobs and events that are kept for the reader of a dashboard; trimmed in steps of 100. */
const FINISHED_KEPT = 1_000;
const EVENTS_KEPT = 1_200;
/** Keys of a route and of the queue, besides its jobs. */
const KEYS_PER_ROUTE = 6;
const KEYS_OF_QUEUES = 40;

/** Redis rewrites its file when that has doubled, from 64 MiB on. */
const AOF_BYTES = 192 * MIB;
/** Redis's own buffers and the rehashing of its tables. */
const REDIS_MAY_GROW_BYTES = 2 * MIB;
/** Node's heap breathes; a leak of a few hundred bytes per attempt is more than this. */
const ROLE_MAY_GROW_BYTES = 24 * MIB;
/** Behind the waiting payload: two segments whose payload is confirmed, and the metadata. */
const SPOOL_OVERHEAD_BYTES = 10 * MIB;
/** Said at the start, at the end, once per trouble and route, and once an hour. */
const LINES_PER_ROUTE = 12;

/** The window `limits.ahead` is full, and the heaps have their size, after this share. */
const SETTLED_SHARE = 0.3;

/** What the samples of the week prove to have grown, or to be larger than it may be. */
export function judgeSamples(samples: readonly Sample[], options: WeekOptions): string[] {
  const faults: string[] = [];
  const { journals, attempts, spoolBytes } = options;
  const routes = journals * DESTINATIONS.length;
  const jobs = routes * (AHEAD + 1);
  const most = (of: (sample: Sample) => number, among = samples): number =>
    Math.max(...among.map(of));
  const atMost = (what: keyof Sample, limit: number): void => {
    const value = most((sample) => sample[what]);
    if (value > limit) faults.push(`${what} came to ${value}, more than ${limit}`);
  };
  atMost('delayed', jobs);
  atMost('waiting', jobs);
  atMost('completed', FINISHED_KEPT);
  atMost('failed', 0);
  atMost('events', EVENTS_KEPT);
  atMost('aofBytes', AOF_BYTES);
  atMost('redisKeys', jobs + FINISHED_KEPT + routes * KEYS_PER_ROUTE + KEYS_OF_QUEUES);
  atMost('spoolBytes', spoolBytes + SPOOL_OVERHEAD_BYTES);

  const settled = samples.filter((sample) => sample.attempts >= attempts * SETTLED_SHARE);
  const early = settled.slice(0, Math.ceil(settled.length / 3));
  const late = settled.slice(-Math.ceil(settled.length / 3));
  const flat = (what: keyof Sample, grows: number): void => {
    const before = median(early.map((sample) => sample[what]));
    const after = median(late.map((sample) => sample[what]));
    if (after > before + grows) faults.push(`${what} grew from ${before} to ${after}`);
  };
  flat('redisBytes', REDIS_MAY_GROW_BYTES);
  flat('producerBytes', ROLE_MAY_GROW_BYTES);
  flat('workerBytes', ROLE_MAY_GROW_BYTES);
  return faults;
}

/** What the logs prove. */
export async function judgeLogs(site: WeekSite): Promise<string[]> {
  const faults: string[] = [];
  const routes = site.journals.length * DESTINATIONS.length;
  for (const role of ['producer', 'worker'] as const) {
    const lines = await site.logLines(role);
    if (lines.length > routes * LINES_PER_ROUTE) {
      faults.push(`the ${role} logged ${lines.length} lines: ${lines.at(-2)}`);
    }
  }
  const worker = (await site.logLines('worker')).join('\n');
  for (const journal of site.journals) {
    const route = `"route":"${journal}@dead"`;
    if (!worker.includes(route)) faults.push(`nobody was told that ${journal}@dead fails`);
  }
  return faults;
}

/** What is left when everything is delivered. */
export function judgeEnd(before: Sample, end: Sample, options: WeekOptions): string[] {
  const faults: string[] = [];
  const small = (what: keyof Sample, limit: number): void => {
    if (end[what] > limit) faults.push(`${what} is ${end[what]} at the end, more than ${limit}`);
  };
  small('waiting', 0);
  small('delayed', 0);
  small('failed', 0);
  small('redisBytes', before.redisBytes + REDIS_MAY_GROW_BYTES + FINISHED_KEPT * 3 * KIB);
  small('spoolBytes', Math.max(options.spoolBytes, 2 * MIB));
  return faults;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
