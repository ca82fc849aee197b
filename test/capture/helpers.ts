/** What the capture tests share. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { FileSystem } from '../../src/common/fileSystem.js';
import { JournalCapture, type JournalCaptureOptions } from '../../src/producers/capture/capture.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { payloadOf, temporaryDirectory } from '../spool/helpers.js';

export interface Bench {
  spool: Spool;
  capture: JournalCapture;
  /** Journal and spool directory, below a directory of the test's own. */
  path: string;
  dir: string;
  /** Ends the "process" without settling and starts another one in `bootId`. */
  restart(bootId: string): Promise<Bench>;
  close(): Promise<void>;
}

export async function bench(t: TestContext, content = Buffer.alloc(0)): Promise<Bench> {
  const root = await temporaryDirectory(t);
  await writeFile(join(root, 'journal'), content);
  return start(root, 'boot-a');
}

export async function start(
  root: string,
  bootId: string,
  more: Partial<JournalCaptureOptions> & { fileSystem?: FileSystem } = {},
): Promise<Bench> {
  const path = join(root, 'journal');
  const dir = join(root, 'spool');
  const { fileSystem, ...options } = more;
  const spool = await Spool.open(dir, {
    journal: 'foo',
    bootId,
    ...(fileSystem === undefined ? {} : { fileSystem }),
  });
  await spool.addRoute('r', { after: 0 });
  const capture = new JournalCapture({ spool, path, settleAfterMs: 3_600_000, ...options });
  return {
    spool,
    capture,
    path,
    dir,
    async restart(next) {
      await spool.close();
      return start(root, next, more);
    },
    async close() {
      await capture.close();
      await spool.close();
    },
  };
}

/** All batches, one behind the other. */
export async function shipped(spool: Spool): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const batch of spool.batchesAfter(0)) parts.push(await payloadOf(spool, batch.sequence));
  return Buffer.concat(parts);
}

/** Batches and then what still stands in the journal: what the writer wrote, if all is well. */
export async function everything({ spool, path }: Bench): Promise<Buffer> {
  return Buffer.concat([await shipped(spool), await readFile(path)]);
}
