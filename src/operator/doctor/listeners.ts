/** Ports for people and for Prometheus, and the passwords of the dashboard's users. */
import { readFile } from 'node:fs/promises';
import { systemCode } from '../../common/errors.js';
import type { DashboardConfig, FerryConfig, ListenAddress } from '../../config/model.js';
import { type Examination, type Findings, reasonOf } from './examination.js';
import { checkMode } from './keyFile.js';
import { tryListen } from './receiver.js';
import { ownerHint } from './system.js';

export function listenerExaminations({ dashboard, metrics }: FerryConfig): Examination[] {
  const port = (check: string, listen: ListenAddress): Examination => ({
    check,
    subject: `${listen.host}:${listen.port}`,
    run: (findings) => checkPort(check, listen, findings),
  });
  return [
    ...(metrics === null ? [] : [port('metrics port', metrics.listen)]),
    ...(dashboard === null ? [] : [port('dashboard port', dashboard.listen)]),
    ...(dashboard?.users ?? []).map((user) => ({
      check: 'dashboard password',
      subject: user.name,
      run: (findings: Findings) => checkPassword(user, findings),
    })),
  ];
}

async function checkPort(check: string, listen: ListenAddress, findings: Findings): Promise<void> {
  const error = await tryListen(listen);
  const code = error === null ? null : systemCode(error);
  if (code === null) findings.ok(check, 'free');
  // Who has it cannot be told without asking it something.
  else if (code === 'EADDRINUSE')
    findings.ok(check, 'in use: by a role that runs, or see ss -ltnp');
  else {
    findings.fail(
      check,
      `cannot be opened (${code})`,
      'choose an address of this machine, and a port above 1023',
    );
  }
}

async function checkPassword(
  { password }: DashboardConfig['users'][number],
  findings: Findings,
): Promise<void> {
  const check = 'dashboard password';
  if ('scrypt' in password) findings.ok(check, 'its hash stands in the configuration');
  else if ('env' in password) {
    if ((process.env[password.env] ?? '') !== '') findings.ok(check, `in ${password.env}`);
    else {
      findings.warn(
        check,
        `the variable ${password.env} is not set here`,
        'set it in the unit of the dashboard, or write: password: {file: ./password}',
      );
    }
  } else {
    const text = await readFile(password.file, 'utf8').catch(async (error: unknown) => {
      findings.fail(
        check,
        `${password.file} cannot be read (${reasonOf(error)})`,
        await ownerHint(password.file).catch(() => 'write the password, or its hash, into it'),
      );
      return null;
    });
    if (text === null) return;
    if (text.split('\n', 1)[0]?.trim() === '') {
      findings.fail(check, `the first line of ${password.file} is empty`, 'write it there');
    } else await checkMode(check, password.file, findings);
  }
}
