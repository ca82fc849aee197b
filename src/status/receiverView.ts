import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isLockHeld } from '../common/fileLock.js';
import { nodeFileSystem } from '../common/fileSystem.js';
import type { ReceiverConfig } from '../config/model.js';
import { readPosition } from '../receiver/apply.js';
import { readTrouble } from '../receiver/applyTrouble.js';
import type { BatchRecord } from '../receiver/batchRecord.js';
import { batchFileName } from '../receiver/batchStore.js';
import { LOCK_NAME } from '../receiver/dataFolder.js';
import { isSafeAppName } from '../receiver/names.js';
import { RecordLog } from '../receiver/recordLog.js';
import type { ReceiverAppStatus, ReceiverStatus } from './report.js';

/**
 * What a receiver's data folder tells: how far each app is, and why its apply command does not get
 * on. Reads only; a receiver that runs is not disturbed.
 */
export async function readReceiverStatus(config: ReceiverConfig): Promise<ReceiverStatus> {
  const names = new Set(config.apps.map(({ name }) => name).filter((name) => name !== '*'));
  // Those of `*` are known by their folders only.
  for (const name of await readdir(config.dataDir).catch(() => [])) {
    if (isSafeAppName(name) && existsSync(join(config.dataDir, name, 'index.log'))) names.add(name);
  }
  const apps = await Promise.all([...names].sort().map((name) => appStatus(config, name)));
  // It holds a lock on its folder as long as it lives.
  return { running: await isLockHeld(join(config.dataDir, LOCK_NAME)), apps };
}

async function appStatus(config: ReceiverConfig, app: string): Promise<ReceiverAppStatus> {
  const folder = join(config.dataDir, app);
  const configured = config.apps.find(({ name }) => name === app || name === '*');
  const applies = configured !== undefined && configured.apply !== null;
  const last = await lastRecord(join(folder, 'index.log'));
  const stored = last?.number ?? 0;
  const applied = applies ? await readPosition(join(folder, 'applied')) : null;
  const waiting = await waitingFrom(folder, (applied ?? stored) + 1, stored);
  const trouble = applies ? await readTrouble(folder) : null;
  return {
    app,
    storedBatches: stored,
    appliedBatches: applied,
    ...waiting,
    attempts: trouble?.attempts ?? 0,
    lastError:
      trouble === null
        ? null
        : `${trouble.code}: ${trouble.message}${trouble.hint === undefined ? '' : `: ${trouble.hint}`}`,
    lastErrorCode: trouble?.code ?? null,
    lastErrorAt: trouble?.at ?? null,
  };
}

async function lastRecord(path: string): Promise<BatchRecord | null> {
  if (!existsSync(path)) return null;
  return RecordLog.last<BatchRecord>(path, nodeFileSystem);
}

async function waitingFrom(
  folder: string,
  first: number,
  last: number,
): Promise<Pick<ReceiverAppStatus, 'waitingBatches' | 'waitingBytes' | 'oldestAgeMs'>> {
  let bytes = 0;
  let oldestMs: number | null = null;
  for (let number = first; number <= last; number += 1) {
    const file = await stat(join(folder, 'batches', batchFileName(number))).catch(() => null);
    bytes += file?.size ?? 0;
    oldestMs ??= file?.mtimeMs ?? null;
  }
  return {
    waitingBatches: Math.max(0, last - first + 1),
    waitingBytes: bytes,
    oldestAgeMs: oldestMs === null ? 0 : Math.max(0, Math.round(Date.now() - oldestMs)),
  };
}
