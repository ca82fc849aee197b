/** Key files: there, readable, one line, private. Their text is never shown. */
import { readFile, stat } from 'node:fs/promises';
import { systemCode } from '../../common/errors.js';
import { type Findings, reasonOf } from './examination.js';
import { modeText, ownerHint } from './system.js';

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** Says one line about a key file, under `check`. */
export async function checkKeyFile(check: string, path: string, findings: Findings): Promise<void> {
  let key: Buffer;
  try {
    // A named pipe would be waited for.
    if (!(await stat(path)).isFile()) {
      findings.fail(check, `${path} is no file`, 'write the key into a file');
      return;
    }
    key = await readFile(path);
  } catch (error) {
    const code = systemCode(error);
    const hint =
      code === 'ENOENT'
        ? 'create it: the same text as on the other side, and a newline'
        : await ownerHint(path).catch(() => 'correct its path and permissions');
    findings.fail(check, `${path} cannot be read (${reasonOf(error)})`, hint);
    return;
  }
  if (key.at(-1) !== NEWLINE) {
    findings.fail(
      check,
      `${path} does not end in a newline`,
      'the far side would wait for the rest of the line for ever: add one',
    );
    return;
  }
  if (key.length === 1) {
    findings.fail(check, `${path} is an empty line`, 'write the key into it');
    return;
  }
  if (key.at(-2) === RETURN) {
    findings.warn(
      check,
      `${path} ends in carriage return and newline`,
      'the other side’s must, too; else write it anew without the carriage return',
    );
    return;
  }
  const lines = key.filter((byte) => byte === NEWLINE).length;
  if (lines > 1) {
    findings.warn(
      check,
      `${path} has ${lines} lines`,
      'all of them are the key: the other side must have the same; most have one',
    );
    return;
  }
  await checkMode(check, path, findings);
}

/** Private keys and key files are for their user alone. */
export async function checkMode(check: string, path: string, findings: Findings): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o007) !== 0) {
    findings.warn(
      check,
      `${path} has mode ${modeText(mode)}: everybody here may use it`,
      `chmod 600 ${path}`,
    );
  } else findings.ok(check, `${path}, mode ${modeText(mode)}`);
}
