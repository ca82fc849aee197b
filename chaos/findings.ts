/** What may not happen, in the order of the last line. */
export const FAULTS = [
  'lost',
  'duplicated',
  'reordered',
  'torn',
  'overlaps',
  'stale',
  'badRepeats',
  'failures',
] as const;
export type Fault = (typeof FAULTS)[number];

/** After so many the rest is only counted. */
const PRINTED_MAX = 60;

const begun = performance.now();

/** Seconds since the start, as every line shows them. */
export function seconds(at: number = performance.now()): string {
  return `${((at - begun) / 1000).toFixed(3)}s`;
}

export function say(text: string): void {
  process.stdout.write(`${seconds().padStart(10)}  ${text}\n`);
}

/** Counts violations, and says what each one was as soon as it is seen. */
export class Findings {
  readonly #counts = new Map<Fault, number>();
  #printed = 0;
  readonly #say: (text: string) => void;

  constructor(print: (text: string) => void = say) {
    this.#say = print;
  }

  get ok(): boolean {
    return FAULTS.every((fault) => this.count(fault) === 0);
  }

  count(fault: Fault): number {
    return this.#counts.get(fault) ?? 0;
  }

  add(fault: Fault, text: string, times = 1): void {
    this.#counts.set(fault, this.count(fault) + times);
    this.#printed += 1;
    if (this.#printed <= PRINTED_MAX) this.#say(`VIOLATION ${fault}: ${text}`);
    else if (this.#printed === PRINTED_MAX + 1) this.#say('further violations are only counted');
  }
}
