import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig } from '../../src/config/load.js';
import type { FerryConfig } from '../../src/config/model.js';
import { diagnose } from '../../src/operator/doctor/doctor.js';
import type { CheckLevel, CheckResult } from '../../src/operator/doctor/report.js';
import { testCerts } from '../support/certs.js';
import { tempDir } from '../support/tempDir.js';

/** What stands in the key file; it must show nowhere. */
export const KEY_TEXT = 'open-sesame-1357';

/** What a healthy configuration is made of; a test breaks one of them. */
export interface Parts {
  redis: string;
  destination: string;
  journal: string;
  /** '' for none. */
  receiver: string;
  /** Further lines. */
  more: string;
}

/** A directory in which everything is as it should be, until a test breaks it. */
export class Patient {
  readonly dir = tempDir();

  static async make(): Promise<Patient> {
    const patient = new Patient();
    await mkdir(patient.path('fifo'));
    await mkdir(patient.path('blob'));
    await mkdir(patient.path('copies'));
    await mkdir(patient.path('state'), { mode: 0o700 });
    await writeFile(patient.path('fifo/foo'), '');
    await writeFile(patient.path('key'), `${KEY_TEXT}\n`, { mode: 0o600 });
    return patient;
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  text(parts: Partial<Parts>): string {
    const { caFile, certFile, keyFile } = testCerts();
    const {
      redis = 'embedded',
      destination = `host: localhost, port: 1, url: "{journal}.r/!replica", key: ./key, tls: {ca: "${caFile}"}`,
      journal = 'name: foo, path: fifo/foo, blobs: blob, to: replica',
      receiver = `{listen: 127.0.0.1:0, tls: {cert: "${certFile}", key: "${keyFile}"}, apps: [{name: "*", keys: [./key], apply: ["sh", "-c", "cat"]}]}`,
      more = '',
    } = parts;
    return [
      `redis: ${redis}`,
      'state: ./state',
      `destinations: {replica: {${destination}}}`,
      `journals: [{${journal}}]`,
      ...(receiver === '' ? [] : [`receiver: ${receiver}`]),
      more,
      '',
    ].join('\n');
  }

  config(parts: Partial<Parts> = {}): FerryConfig {
    return parseConfig(this.text(parts), { file: this.path('ferry.yaml') });
  }

  /** For the command: the configuration as a file. */
  async configure(parts: Partial<Parts> = {}): Promise<void> {
    await writeFile(this.path('ferry.yaml'), this.text(parts), { mode: 0o600 });
  }

  async look(parts: Partial<Parts> = {}): Promise<CheckResult[]> {
    return diagnose(this.config(parts));
  }
}

/** The results of one check. */
export function of(results: readonly CheckResult[], check: string): CheckResult[] {
  return results.filter((result) => result.check === check);
}

/** One check as `level: message`, so that a test can say all of it in one pattern. */
export function said(results: readonly CheckResult[], check: string): string {
  return of(results, check)
    .map(({ level, message, hint }) => `${level}: ${message}${hint === null ? '' : ` -> ${hint}`}`)
    .join('\n');
}

export function levelsOf(results: readonly CheckResult[], check: string): CheckLevel[] {
  return of(results, check).map(({ level }) => level);
}
