import type { Logger } from 'pino';
import { type FileSystem, nodeFileSystem } from '../common/fileSystem.js';
import { NO_RECEIVER_METER, type ReceiverMeter } from '../common/meter.js';
import type { ReceiverConfig } from '../config/model.js';
import { type AppState, Apps } from './apps.js';
import { type BodyDeadline, bodyDeadlineMs } from './bodyDeadline.js';
import { lockDataFolder, makeFolder } from './dataFolder.js';
import { ReceiverServer } from './server.js';
import { readTlsFiles } from './tlsFiles.js';
import { TlsSettings } from './tlsSettings.js';

/** Of the 10 s that a stop may take: for connections in flight, then for apply commands. */
const STOP_CONNECTIONS_MS = 5_000;
const STOP_APPLY_MS = 1_500;

/** How late old ticket keys are noticed, at most. */
const LOOK_AT_TICKETS_MS = 60_000;

export interface Receiver {
  /** Where it listens; the real port when the configured one is 0. */
  address: { host: string; port: number };
  /** Connections that are open now. */
  connections(): number;
  /** How the apps stand that are open. */
  apps(): Iterable<AppState>;
  /**
   * Reads key files and certificates again. Connections that are open are not touched.
   * @throws FerryError of kind usage when one cannot be used: everything is as it was
   */
  reload(): Promise<void>;
  /** Finishes what is in flight, within 10 s. Idempotent. */
  stop(): Promise<void>;
}

export interface ReceiverOptions {
  /** For tests: a file system with faults, less patience. */
  fileSystem?: FileSystem;
  bodyDeadlineMs?: BodyDeadline;
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
  if (config.tls !== null) await readTlsFiles(config.tls);
  await makeFolder(fs, config.dataDir);
  const lock = await lockDataFolder(fs, config.dataDir);
  let apps: Apps | null = null;
  try {
    const { dataDir, dialect, limits } = config;
    const opened = await Apps.load(config.apps, { dataDir, fs, meter, log });
    apps = opened;
    const tls = config.tls === null ? null : await TlsSettings.load(config.tls, fs, dataDir);
    const server = await ReceiverServer.start(
      { listen: config.listen, tls: tls?.current ?? null, proxies: config.proxies },
      {
        apps: opened,
        dialect,
        limits,
        bodyDeadlineMs: options.bodyDeadlineMs ?? bodyDeadlineMs,
        meter,
        log,
      },
    );
    const { address } = server;
    log.info({ ...address, dialect, tls: tls !== null }, 'receiver listens');
    const reload = async () => {
      const fresh = await tls?.reload();
      await opened.reloadKeys();
      if (fresh !== undefined) server.useTls(fresh);
      log.info('key files and certificates read again');
    };
    const renewal = setInterval(() => {
      tls?.renewTicketKeys().then(
        (fresh) => fresh !== null && server.useTls(fresh),
        (error: unknown) => log.error({ err: error }, 'ticket keys not renewed'),
      );
    }, LOOK_AT_TICKETS_MS);
    const stopped = once(async () => {
      clearInterval(renewal);
      await server.stop(STOP_CONNECTIONS_MS);
      await opened.close(STOP_APPLY_MS);
      await lock.release();
      log.info('receiver stopped');
    });
    const connections = () => server.connections;
    return { address, connections, apps: () => opened.states(), reload, stop: stopped };
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
