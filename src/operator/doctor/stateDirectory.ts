/** The state directory: what is in it must be ours to write, and nobody else's to read. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { spooledJournals } from '../../producers/spoolFiles.js';
import { count, type Examination, type Findings, reasonOf } from './examination.js';
import { existingAbove, exists, lackingRights, modeText, ownerHint, volumeOf } from './system.js';

const CHECK = 'state directory';

/** Of a directory's entries so many are named; the rest is counted. */
const NAMED_MAX = 3;

export function stateExamination(stateDir: string): Examination {
  return { check: CHECK, subject: stateDir, run: (findings) => look(stateDir, findings) };
}

async function look(stateDir: string, findings: Findings): Promise<void> {
  if (!(await exists(stateDir))) return notThereYet(stateDir, findings);
  const { mode } = await stat(stateDir);
  if (!(await stat(stateDir)).isDirectory()) {
    findings.fail(CHECK, 'is no directory', 'name another one: state: ./state');
    return;
  }
  const lacking = await lackingRights(stateDir, ['read', 'write', 'enter']);
  if (lacking.length > 0) {
    findings.fail(
      CHECK,
      `this user lacks the right to ${lacking.join(', ')}`,
      await ownerHint(stateDir),
    );
    return;
  }
  const strange = await notWritable(stateDir);
  if (strange.length > 0) {
    const [first = ''] = strange;
    findings.fail(
      CHECK,
      `${named(strange)} not writable for this user: started once as another?`,
      await ownerHint(join(stateDir, first)),
    );
    return;
  }
  if ((mode & 0o077) !== 0) {
    findings.warn(
      CHECK,
      `mode ${modeText(mode)}: others may look into it`,
      `chmod 700 ${stateDir}`,
    );
  } else findings.ok(CHECK, `writable, mode ${modeText(mode)}`);
  await describeVolume(stateDir, findings);
}

async function notThereYet(stateDir: string, findings: Findings): Promise<void> {
  const above = await existingAbove(stateDir);
  const lacking = await lackingRights(above, ['write', 'enter']);
  if (lacking.length > 0) {
    findings.fail(
      CHECK,
      `is not there, and ${above} does not let this user make it`,
      `mkdir -m 700 ${stateDir}, and give it to the user of ferry`,
    );
    return;
  }
  findings.ok(CHECK, 'will be made at the first start');
  await describeVolume(stateDir, findings);
}

/** Names of what lies in the state directory and cannot be written: `spool/foo`. */
async function notWritable(stateDir: string): Promise<string[]> {
  const journals = await spooledJournals(stateDir);
  const places = [
    ...(await readdir(stateDir)),
    ...journals.map((journal) => join('spool', journal)),
  ];
  const strange: string[] = [];
  for (const place of places) {
    const path = join(stateDir, place);
    const isDirectory = (await stat(path).catch(() => null))?.isDirectory();
    if (isDirectory === undefined) continue; // gone since
    const lacking = await lackingRights(
      path,
      isDirectory ? ['read', 'write', 'enter'] : ['read', 'write'],
    );
    if (lacking.length > 0) strange.push(place);
  }
  return strange;
}

function named(places: readonly string[]): string {
  const some = places.slice(0, NAMED_MAX).join(', ');
  const more = places.length - NAMED_MAX;
  const verb = places.length === 1 ? 'is' : 'are';
  return more > 0 ? `${some} and ${count(more, 'more')} are` : `${some} ${verb}`;
}

async function describeVolume(stateDir: string, findings: Findings): Promise<void> {
  const check = 'state file system';
  const { name, kind } = await volumeOf(stateDir).catch((error: unknown) => {
    throw new Error(`the file system does not answer (${reasonOf(error)})`);
  });
  if (kind === 'memory') {
    findings.warn(
      check,
      `${name} lies in memory: a power cut takes the spool with it`,
      'put the state directory on a disk: state: /var/lib/ferry',
    );
  } else if (kind === 'network') {
    findings.warn(
      check,
      `${name}: locks and syncs are as good as its server's`,
      'put the state directory on a local disk',
    );
  } else findings.ok(check, name);
}
