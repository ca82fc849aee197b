import type { Lab } from './lab.js';
import type { Table } from './table.js';

/** One thing that is measured; a command of its own: `npm run bench -- NAME`. */
export interface Comparison {
  /** The word on the command line. */
  readonly name: string;
  readonly title: string;
  /** What is compared with what, and how; a paragraph of the report. */
  readonly text: string;
  /** How often everything is measured, by default. */
  readonly rounds: number;
  run(lab: Lab, options: RunOptions): Promise<Outcome>;
}

export interface RunOptions {
  rounds: number;
  /** Smaller in every respect: to see that it runs, not what it says. */
  quick: boolean;
}

export interface Outcome {
  tables: Table[];
  verdicts: Verdict[];
  /** What a reader should know of this very run. */
  notes?: string[];
}

/** A comparison that was tried, how long that took, and what came of it or why nothing did. */
export type Measured = { comparison: Comparison; rounds: number; seconds: number } & (
  | { outcome: Outcome }
  | { failed: string }
);

/** A figure beside what it should be. */
export interface Verdict {
  what: string;
  target: string;
  measured: string;
  met: boolean;
}

/** What one measurement of one contender says, by name of the figure. */
export type Sample = Readonly<Record<string, number>>;

/**
 * Measures all contenders in turn, again and again, so that whatever else the machine does meets
 * each of them alike.
 */
export async function interleaved<Name extends string>(
  rounds: number,
  contenders: Readonly<Record<Name, (round: number) => Promise<Sample>>>,
  say: (line: string) => void,
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(contenders) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<
    Name,
    Sample[]
  >;
  for (let round = 1; round <= rounds; round += 1) {
    // Who comes first changes: what one leaves behind must not always meet the same other.
    const turn = round % 2 === 1 ? names : [...names].reverse();
    for (const name of turn) {
      const sample = await contenders[name](round);
      samples[name].push(sample);
      const figures = Object.entries(sample).map(([what, value]) => `${what} ${value.toFixed(1)}`);
      say(`round ${round} of ${rounds}, ${name}: ${figures.join(', ')}`);
    }
  }
  return samples;
}

/** The middle one; of an even number the mean of the two in the middle. NaN of nothing. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear between the two nearest. NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)];
  const high = sorted[Math.ceil(at)];
  if (low === undefined || high === undefined) return Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** Median of one figure over the rounds. */
export function medianOf(samples: readonly Sample[], figure: string): number {
  return median(samples.map((sample) => sample[figure] ?? Number.NaN));
}

/** A row per contender with the medians of its figures. */
export function medians(
  samples: Readonly<Record<string, readonly Sample[]>>,
  figures: readonly string[],
  head = '',
): Table {
  const rows = Object.entries(samples).map(([name, of]) => [
    name,
    ...figures.map((figure) => round(medianOf(of, figure))),
  ]);
  return { heads: [head, ...figures], rows };
}

/** Median of the ratios within each round: what both met alike falls out. */
export function medianRatio(
  ours: readonly Sample[],
  theirs: readonly Sample[],
  figure: string,
): number {
  return median(
    ours.map((sample, i) => (sample[figure] ?? Number.NaN) / (theirs[i]?.[figure] ?? Number.NaN)),
  );
}

/** Whether a figure reaches its target; the words for the report come with it. */
export function atLeast(what: string, measured: number, target: number, unit: string): Verdict {
  return verdict(what, `>= ${target}${unit}`, `${round(measured)}${unit}`, measured >= target);
}

export function atMost(what: string, measured: number, target: number, unit: string): Verdict {
  return verdict(what, `<= ${target}${unit}`, `${round(measured)}${unit}`, measured <= target);
}

function verdict(what: string, target: string, measured: string, met: boolean): Verdict {
  return { what, target, measured, met };
}

/** Three digits that mean something, and no more. */
export function round(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.min(digits, 3) });
}
