import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { FerryError, systemCode } from '../common/errors.js';
import { type FileSystem, nodeFileSystem } from '../common/fileSystem.js';
import { NO_RECEIVER_METER, type ReceiverMeter } from '../common/meter.js';
import type { ReceiverConfig } from '../config/model.js';
import { Apps } from './apps.js';
import { lockDataFolder, makeFolder, ticketKeys } from './dataFolder.js';
import { ReceiverServer } from './server.js';

/** Of the 10 s that a stop may take: for connections in flight, then for apply commands. */
const STOP_CONNECTIONS_MS = 5_000;
const STOP_APPLY_MS = 1_500;

export interface Receiver {
  /** Where it listens; the real port when the configured one is 0. */
  address: { host: string; port: number };
  /** Connections that are open now. */
  connections(): number;
  /** Finishes what is in flight, within 10 s. Idempotent. */
  stop(): Promise<void>;
}

export interface ReceiverOptions {
  /** For tests: a file system with faults. */
  fileSystem?: FileSystem;
  /** Default: nothing is counted. */
  meter?: ReceiverMeter;
}

/**
 * Starts a receiver: locks its data folder, recovers what a crash left, listens.
 * @throws FerryError of kind usage for missing files, bad names, a taken port or data folder; of
 *   kind storage for a damaged index
 */
export async function startReceiver(
  config: ReceiverConfig,
  logger: Logger,
  options: ReceiverOptions = {},
): Promise<Receiver> {
  const fs = options.fileSystem ?? nodeFileSystem;
  const meter = options.meter ?? NO_RECEIVER_METER;
  const log = logger.child({ role: 'receiver' });
  const cert = await readTlsFile('certificate', config.tls.certFile);
  const key = await readTlsFile('key', config.tls.keyFile);
  await makeFolder(fs, config.dataDir);
  const lock = await lockDataFolder(fs, config.dataDir);
  let apps: Apps | null = null;
  try {
    apps = await Apps.load(config.apps, config.dataDir, fs, log);
    const server = await ReceiverServer.start(
      { listen: config.listen, cert, key, ticketKeys: await ticketKeys(fs, config.dataDir) },
      { apps, dialect: config.dialect, limits: config.limits, meter, log },
    );
    const { address } = server;
    log.info({ ...address, dialect: config.dialect }, 'receiver listens');
    const stopped = once(async () => {
      await server.stop(STOP_CONNECTIONS_MS);
      await apps?.close(STOP_APPLY_MS);
      await lock.release();
      log.info('receiver stopped');
    });
    return { address, connections: () => server.connections, stop: stopped };
  } catch (error) {
    await apps?.close(0);
    await lock.release();
    throw error;
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  return () => {
    running ??= work();
    return running;
  };
}

async function readTlsFile(what: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new FerryError(
      'TLS_FILE_MISSING',
      `the receiver’s ${what} ${path} cannot be read (${systemCode(error)})`,
      {
        kind: 'usage',
        hint: 'set receiver.tls.cert and receiver.tls.key to PEM files this user may read',
        cause: error,
      },
    );
  }
}
