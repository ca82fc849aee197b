import { asError, describe, FerryError, systemCode } from '../../common/errors.js';
import { maskUrls } from '../../common/maskUrls.js';
import { Semaphore } from '../../common/semaphore.js';
import { inTime } from '../../common/within.js';
import type { CheckLevel, CheckResult } from './report.js';

/** One thing to look at. What it finds before its time is over counts. */
export interface Examination {
  /** Named in the report if it does not end in time. */
  check: string;
  subject: string;
  run(findings: Findings): Promise<void>;
}

/** Of one examination: a dead host or disk must not keep the others from being seen. */
export const EXAMINATION_MS = 8_000;
/** Of all of them together: an operator waits. */
export const ALL_EXAMINATIONS_MS = 14_000;
/** More at once would be a load by themselves, on files as on destinations. */
const AT_ONCE = 16;

/** What one examination has found, in the order in which it was found. */
export class Findings {
  readonly results: CheckResult[] = [];
  readonly #subject: string;
  #closed = false;

  constructor(subject: string) {
    this.#subject = subject;
  }

  ok(check: string, message: string): void {
    this.add(check, 'ok', message, null);
  }

  warn(check: string, message: string, hint: string): void {
    this.add(check, 'warn', message, hint);
  }

  fail(check: string, message: string, hint: string): void {
    this.add(check, 'fail', message, hint);
  }

  /** @param why for example `redis is not reachable` */
  skipped(why: string, ...checks: readonly string[]): void {
    for (const check of checks) this.add(check, 'skipped', why, null);
  }

  /** A failure that was raised: errors of ours say themselves what to do. */
  error(check: string, error: unknown, hint = 'see the message; correct it and run this again') {
    if (error instanceof FerryError) this.fail(check, error.message, error.hint ?? hint);
    else this.fail(check, describe(error), hint);
  }

  add(check: string, level: CheckLevel, message: string, hint: string | null): void {
    if (this.#closed) return; // too late: the report has been given
    // A check is one line, whatever is quoted in it.
    const line = (text: string): string => maskUrls(text).replace(/\s*[\r\n]+\s*/g, '; ');
    this.results.push({
      check,
      subject: this.#subject,
      level,
      message: line(message),
      hint: hint === null ? null : line(hint),
    });
  }

  close(): void {
    this.#closed = true;
  }
}

/** Time for the examinations; others only for tests. */
export interface Patience {
  eachMs: number;
  allMs: number;
}

/** Runs them side by side; their results stand in the order of the examinations. */
export async function examine(
  examinations: readonly Examination[],
  patience: Patience = { eachMs: EXAMINATION_MS, allMs: ALL_EXAMINATIONS_MS },
): Promise<CheckResult[]> {
  const deadline = performance.now() + patience.allMs;
  const places = new Semaphore(AT_ONCE);
  const results = await Promise.all(
    examinations.map((examination) =>
      places.run(() => {
        const left = deadline - performance.now();
        return one(examination, Math.min(patience.eachMs, left));
      }),
    ),
  );
  return results.flat();
}

async function one(
  { check, subject, run }: Examination,
  patienceMs: number,
): Promise<CheckResult[]> {
  const findings = new Findings(subject);
  if (patienceMs <= 0) {
    findings.skipped('no time was left: other checks have hung', check);
    return findings.results;
  }
  const done = run(findings).catch((error: unknown) => findings.error(check, error));
  await inTime(patienceMs, done, () =>
    findings.fail(
      check,
      `no answer within ${(patienceMs / 1000).toFixed(0)} s`,
      'a disk or a host hangs: look at the mount, or at the host',
    ),
  );
  findings.close();
  return findings.results;
}

/** `EACCES`, or whatever else an error says of itself. */
export function reasonOf(error: unknown): string {
  return systemCode(error) ?? asError(error).message;
}

/** `1 journal`, `3 journals`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
