/** What came of one check: the contract of `ferry doctor --json`. */
export interface CheckResult {
  /** What was looked at: `redis durability`, `certificate`. */
  check: string;
  /** Whose: a file, a destination's name, a directory. */
  subject: string;
  /**
   * `warn`: it works, and something should be known or done. `fail`: it does not work.
   * `skipped`: not looked at, and the message says why.
   */
  level: CheckLevel;
  message: string;
  /** What to do; null where there is nothing to do. */
  hint: string | null;
}

export type CheckLevel = 'ok' | 'warn' | 'fail' | 'skipped';

export interface DoctorReport {
  version: 1;
  /** No check has failed; warnings do not count. */
  ok: boolean;
  checks: CheckResult[];
}

export function reportOf(checks: CheckResult[]): DoctorReport {
  return { version: 1, ok: checks.every(({ level }) => level !== 'fail'), checks };
}
