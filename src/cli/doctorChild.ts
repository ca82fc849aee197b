/**
 * The process that `ferry doctor` looks with. A disk that hangs holds the threads of whoever asked
 * it, and Node waits for its threads at the end: this process may stay behind, the command does not.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FerryError } from '../common/errors.js';
import type { DoctorReport } from '../operator/doctor/report.js';

/** The command's side: has the pipelines of a configuration file looked at. */
export async function diagnoseInChild(file: string): Promise<DoctorReport> {
  const child = fork(fileURLToPath(import.meta.url), [file], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  try {
    return await new Promise<DoctorReport>((resolve, reject) => {
      child.once('message', (report) => resolve(report as DoctorReport));
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        const message = `the looking process ended with ${signal ?? code} and no report`;
        reject(new FerryError('DOCTOR_ENDED', message, { kind: 'internal' }));
      });
    });
  } finally {
    child.removeAllListeners('exit');
    if (child.connected) child.disconnect();
    child.kill('SIGKILL');
    child.unref();
  }
}

/** The other side. */
async function main(file: string): Promise<void> {
  process.once('disconnect', () => process.exit(1)); // nobody waits any more
  const { operated } = await import('../ssl/daemons.js');
  const { diagnoseAll } = await import('../operator/doctor/doctor.js');
  const { configs } = await operated(file);
  process.send?.(await diagnoseAll(configs));
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(process.argv[2] ?? 'ferry.yaml');
}
