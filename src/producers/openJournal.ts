import type { Logger } from 'pino';
import type { FerryConfig, JournalConfig } from '../config/model.js';
import { takesEveryLink } from '../config/routes.js';
import type { QueueAccess } from '../queue/access.js';
import type { PayloadStore } from '../queue/payload/payloadStore.js';
import { Archive } from './archive/archive.js';
import { BatchStore } from './batchStore.js';
import { BlobFeed } from './blobFeed.js';
import { JournalCapture } from './capture/capture.js';
import type { CaptureNote } from './capture/outcomes.js';
import { RouteFeed } from './routeFeed.js';
import { settleRoutes } from './settleRoutes.js';
import type { SealLog } from './spool/sealLog.js';
import { Spool } from './spool/spool.js';
import { spoolDir } from './spoolFiles.js';

/** What a journal is opened with. */
export interface JournalParts {
  config: FerryConfig;
  journal: JournalConfig;
  access: QueueAccess;
  payloads: PayloadStore;
  bootId: string;
  /** Shared by all journals of this process. */
  seals: SealLog;
  log: Logger;
}

export interface JournalHooks {
  /** Trouble in the background, that no turn waits for. */
  onNote: (note: CaptureNote) => void;
  /** Whether everything that happens in the blob directory is heard of. */
  blobsAreWatched: () => boolean;
}

/** All that a journal has while its spool is open. */
export interface OpenJournal {
  spool: Spool;
  store: BatchStore;
  capture: JournalCapture;
  /** One per destination of the configuration. */
  routes: readonly RouteFeed[];
  /** Null: the journal has no blob directory. */
  blobs: BlobFeed | null;
  /** Null: nothing is archived. */
  archive: Archive | null;
}

/**
 * Opens a journal's spool, tells it which routes there are now, and makes what captures and feeds.
 *
 * @throws FerryError as `Spool.open`; what recording in the spool throws
 */
export async function openJournal(
  parts: JournalParts,
  { onNote, blobsAreWatched }: JournalHooks,
): Promise<OpenJournal> {
  const { config, journal, bootId, seals, log } = parts;
  const dir = spoolDir(config.stateDir, journal.name);
  const spool = await Spool.open(dir, { journal: journal.name, bootId, seals });
  try {
    const capture = new JournalCapture({
      spool,
      path: journal.path,
      trimAboveBytes: journal.flush.trimAboveBytes,
      spoolBytesMax: journal.limits.spoolBytes,
      onNote,
    });
    await settleRoutes(parts, spool);
    const { keepMs, maxBytes } = config.archive;
    const archives = keepMs > 0 && maxBytes > 0;
    await spool.recordArchiving(archives);
    const archive = archives
      ? new Archive({ ...config.archive, spool, stateDir: config.stateDir, log })
      : null;
    archive?.look();
    const store = new BatchStore(spool, config.stateDir);
    const blobs = blobFeed(parts, spool, blobsAreWatched);
    return {
      spool,
      store,
      capture,
      routes: routeFeeds(parts, spool, store, blobs),
      blobs,
      archive,
    };
  } catch (error) {
    await spool.close();
    throw error;
  }
}

function routeFeeds(
  parts: JournalParts,
  spool: Spool,
  store: BatchStore,
  blobs: BlobFeed | null,
): RouteFeed[] {
  const formerStreams = new Set<string>();
  const onReset = () => blobs?.forgetJobs();
  return parts.journal.to.map(
    (target) => new RouteFeed({ ...parts, target, spool, store, formerStreams, onReset }),
  );
}

function blobFeed(
  { config, journal, access, log }: JournalParts,
  spool: Spool,
  isWatched: () => boolean,
): BlobFeed | null {
  if (journal.blobsDir === null) return null;
  return new BlobFeed({
    config,
    journal: journal.name,
    dir: journal.blobsDir,
    intervalMs: journal.intervalMs,
    isWatched,
    everyLink: takesEveryLink(journal, config.destinations),
    wanted: new Set(journal.to.map(({ destination }) => destination)),
    spool,
    access,
    log,
  });
}
