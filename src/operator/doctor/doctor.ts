import type { FerryConfig } from '../../config/model.js';
import { ConfigError } from '../../config/problems.js';
import { destinationExaminations } from './destinations.js';
import { diskExaminations } from './disk.js';
import { type Examination, examine, Findings, type Patience } from './examination.js';
import { journalExaminations } from './journals.js';
import { limitExaminations } from './limits.js';
import { listenerExaminations } from './listeners.js';
import { lockExaminations } from './locks.js';
import { programExaminations } from './program.js';
import { receiverExaminations } from './receiver.js';
import { redisExamination } from './redis.js';
import { type CheckResult, type DoctorReport, reportOf } from './report.js';
import { stateExamination } from './stateDirectory.js';

/**
 * Looks at everything that the roles of a configuration need, side by side, within 15 s. Changes
 * nothing and starts nothing, so it may be run beside running roles and by any user; what that
 * user lacks is said.
 */
export async function diagnose(config: FerryConfig, patience?: Patience): Promise<CheckResult[]> {
  const sends = config.journals.length > 0;
  const examinations: Examination[] = [
    ...programExaminations(config),
    ...(sends ? [stateExamination(config.stateDir)] : []),
    ...diskExaminations(config),
    ...(sends || config.destinations.size > 0 ? [redisExamination(config)] : []),
    ...journalExaminations(config),
    ...lockExaminations(config),
    ...limitExaminations(config),
    ...destinationExaminations(config),
    ...receiverExaminations(config),
    ...listenerExaminations(config),
  ];
  return examine(examinations, patience);
}

/** Of several configurations, those of `ferry ssl` daemons for example; what is said twice, once. */
export async function diagnoseAll(configs: readonly FerryConfig[]): Promise<DoctorReport> {
  const results = (await Promise.all(configs.map((config) => diagnose(config)))).flat();
  const said = new Set<string>();
  return reportOf(
    results.filter((result) => {
      const text = JSON.stringify(result);
      if (said.has(text)) return false;
      said.add(text);
      return true;
    }),
  );
}

/** A configuration that cannot be used: nothing else can be looked at. */
export function diagnoseInvalid(file: string, error: unknown): DoctorReport {
  const findings = new Findings(file);
  if (error instanceof ConfigError) {
    for (const { line, field, message, hint } of error.problems) {
      const where = `line ${line}${field === '' ? '' : `, ${field}`}`;
      findings.fail('configuration', `${where}: ${message}`, hint);
    }
  } else findings.error('configuration', error);
  findings.skipped('there is no valid configuration', 'everything else');
  return reportOf(findings.results);
}
