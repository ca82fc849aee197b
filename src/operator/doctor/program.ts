/** The program, its user and its configuration. */
import { stat } from 'node:fs/promises';
import type { FerryConfig } from '../../config/model.js';
import { count, type Examination } from './examination.js';
import { currentUser, exists, userName } from './system.js';

/** Node's long-term releases that get updates no more. */
const NODE_ENDED_MAJOR = 20;

export function programExaminations(config: FerryConfig): Examination[] {
  const file = config.file ?? 'ferry ssl';
  return [
    {
      check: 'node',
      subject: process.execPath,
      async run(findings) {
        const [major = 0] = process.versions.node.split('.').map(Number);
        if (major > NODE_ENDED_MAJOR) findings.ok('node', `version ${process.versions.node}`);
        else {
          findings.warn(
            'node',
            `version ${process.versions.node} works, and gets no security updates any more`,
            'install Node 24',
          );
        }
        if (process.platform !== 'linux') {
          findings.warn(
            'platform',
            `on ${process.platform} the locks of writers are not respected`,
            'use Linux where a writer locks its journal',
          );
        }
      },
    },
    {
      check: 'configuration',
      subject: file,
      async run(findings) {
        const counts = [
          count(config.journals.length, 'journal rule'),
          count(config.destinations.size, 'destination'),
          ...(config.receiver === null ? [] : ['a receiver']),
          ...(config.dashboard === null ? [] : ['a dashboard']),
        ];
        findings.ok('configuration', `valid: ${counts.join(', ')}`);
        await checkSecretsInFile(config, findings);
      },
    },
    {
      check: 'user',
      subject: currentUser().name,
      async run(findings) {
        const user = currentUser();
        const owned = (await exists(config.stateDir)) ? await stat(config.stateDir) : null;
        if (owned === null || owned.uid === user.uid) {
          findings.ok('user', 'owns the state directory, or will');
        } else if (user.uid === 0) {
          const owner = await userName(owned.uid);
          findings.warn(
            'user',
            `root may do everything, which proves nothing about ${owner}, who owns the state directory`,
            `run this as ${owner}: runuser -u ${owner} -- ferry doctor`,
          );
        } else {
          const owner = await userName(owned.uid);
          findings.warn(
            'user',
            `the state directory belongs to ${owner}`,
            `run ferry, and this, as ${owner}`,
          );
        }
      },
    },
  ];
}

/** A key or password that is written out makes the file itself a secret. */
async function checkSecretsInFile(
  { file, destinations }: FerryConfig,
  findings: Parameters<Examination['run']>[0],
): Promise<void> {
  if (file === null || !(await exists(file))) return;
  const written = [...destinations.values()].some(
    (destination) => destination.kind === 'wire' && 'text' in destination.key,
  );
  const { mode } = await stat(file);
  if (!written || (mode & 0o077) === 0) return;
  findings.warn('configuration', 'it holds a key, and others may read it', `chmod 600 ${file}`);
}
