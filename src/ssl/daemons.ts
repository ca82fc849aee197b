import { existsSync } from 'node:fs';
import type { Environment } from '../config/environment.js';
import { loadConfig } from '../config/load.js';
import type { FerryConfig } from '../config/model.js';
import { configOf, documentOf } from './document.js';
import { sharedStateDir } from './places.js';
import { type DaemonEntry, readEntries } from './registry.js';

/** Pipelines that an operator's command is about, and whether they share a state directory. */
export interface Operated {
  configs: readonly FerryConfig[];
  /** Then each is only one of those that the state directory knows of. */
  areDaemons: boolean;
}

/**
 * What `ferry status` and the verdicts work on: the configuration file; where there is none, the
 * `ferry ssl` daemons of this user.
 *
 * @throws FerryError as `loadConfig`, also when there is neither
 */
export async function operated(file: string, env: Environment = process.env): Promise<Operated> {
  if (!existsSync(file)) {
    const stateDir = sharedStateDir(env);
    const configs = (await readEntries(stateDir)).flatMap(
      (entry) => configOfEntry(entry, stateDir, env) ?? [],
    );
    if (configs.length > 0) return { configs, areDaemons: true };
  }
  return { configs: [loadConfig(file, env)], areDaemons: false };
}

function configOfEntry(entry: DaemonEntry, stateDir: string, env: Environment): FerryConfig | null {
  const { call, name, prefix, directory, dialect, before } = entry;
  const document = documentOf(call, { name, directory, dialect, before });
  if (document === null) return null;
  return configOf(document, call, {
    stateDir,
    prefix,
    env: entry.embedded ? { ...env, REDIS_URL: undefined } : env,
  });
}
