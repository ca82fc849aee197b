import { mkdir } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { Logger } from '../common/logger.js';
import type { Environment } from '../config/environment.js';
import type { FerryConfig } from '../config/model.js';
import type { DaemonCall } from './arguments.js';
import { dialectOf } from './dialect.js';
import { configOf, documentOf } from './document.js';
import { sharedStateDir } from './places.js';
import { type Claim, claimDaemon } from './registry.js';

/** What a start came to. */
export type DaemonStart =
  | {
      is: 'ours';
      name: string;
      stateDir: string;
      /** Null: neither journal nor blobs, the daemon only waits for its end. */
      config: FerryConfig | null;
    }
  | Exclude<Claim, { is: 'ours' }>;

/**
 * Makes this process the daemon of a call, unless the same one runs already. Relative names begin
 * in the process's directory.
 *
 * @throws FerryError SSL_DIALECT, SSL_ARGUMENTS, SSL_PORT, SSL_SHIPPED_ELSEWHERE, SSL_REGISTRY_BUSY
 */
export async function prepareDaemon(call: DaemonCall, env: Environment): Promise<DaemonStart> {
  const stateDir = sharedStateDir(env);
  const directory = process.cwd();
  const dialect = dialectOf(env);
  // Refused before anything is written down.
  const check = { stateDir, prefix: 'check', env };
  const document = documentOf(call, { directory, name: 'check', dialect });
  if (document !== null) configOf(document, call, check);

  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const embedded = (env['REDIS_URL'] ?? '') === '';
  const claim = await claimDaemon(call, { stateDir, directory, dialect, embedded });
  if (claim.is !== 'ours') return claim;
  const { name, prefix, before } = claim.entry;
  const named = documentOf(call, { directory, name, dialect, before });
  return {
    is: 'ours',
    name,
    stateDir,
    config: named === null ? null : configOf(named, call, { stateDir, prefix, env }),
  };
}

/** A key on standard input is read once, before the daemon leaves it behind. */
export async function withKeyRead(
  call: DaemonCall,
  stdin: NodeJS.ReadableStream,
): Promise<DaemonCall> {
  if (call.key !== 'stdin') return call;
  return { ...call, key: { kind: 'text', text: await text(stdin) } };
}

/** What a daemon without journal and blobs does: nothing, until it is told to stop. */
export function idleRole(logger: Logger): { stop(): Promise<void>; lastActiveAt(): number } {
  logger.info('neither a journal nor blobs: nothing to do');
  const startedAt = performance.now();
  const awake = setInterval(() => undefined, 2 ** 30);
  return {
    async stop() {
      clearInterval(awake);
    },
    lastActiveAt: () => startedAt,
  };
}
