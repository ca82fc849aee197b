import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FerryError } from '../common/errors.js';
import { resource } from '../common/resources.js';
import type { DoctorReport } from '../operator/doctor/report.js';

/**
 * Has the pipelines of a configuration file looked at, by a process of its own. A disk that hangs
 * holds the threads of whoever asked it, and Node waits for its threads at the end: that process may
 * stay behind, the command does not.
 */
export async function diagnoseInChild(file: string): Promise<DoctorReport> {
  const child = fork(fileURLToPath(resource('bundle/doctorProgram.cjs')), [file], {
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
