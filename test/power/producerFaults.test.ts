/**
 * Every call of a producer fails in turn, once and from there on. What it says afterwards is true,
 * it goes on when the fault is over, and a power cut right behind it takes nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  everyFault,
  type Fault,
  FaultyFileSystem,
  isOneOfEach,
  nameOf,
  type Operation,
} from '../support/faultyFileSystem.js';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import { Producer, type ProducerOptions, ProducerWorld } from './producer.js';
import { cutAndCheck } from './producerLives.js';
import { ROUNDS } from './rounds.js';

const below = memoryDir();
failOnLeaks();

const KB = 1024;

interface Row {
  name: string;
  options: ProducerOptions;
  steps(producer: Producer): Promise<void>;
  /** Which are tried of `calls` calls; all, where nothing is said, and in a long run. */
  faults?: (fault: Fault, calls: number) => boolean;
}

const LAST_CALLS = 3;

const ROWS: readonly Row[] = [
  {
    name: 'small batches',
    options: {},
    async steps(p) {
      for (const bytes of [100, 9000]) {
        await p.append(bytes);
        await p.captureAll();
        await p.blobsAndGeneration();
      }
      await p.settle();
      await p.ack();
    },
    faults: isOneOfEach,
  },
  {
    name: 'large batches, which are freed',
    options: {},
    async steps(p) {
      for (const bytes of [260 * KB, 100]) {
        await p.append(bytes);
        await p.captureAll();
        await p.settle();
        await p.ack();
      }
    },
    faults: isOneOfEach,
  },
  {
    name: 'a journal whose front is released',
    options: { trimAboveBytes: 64 * KB },
    async steps(p) {
      for (const bytes of [260 * KB, 100]) {
        await p.append(bytes);
        await p.captureAll();
      }
      await p.ack();
    },
    faults: isOneOfEach,
  },
  {
    name: 'segments that roll',
    options: {},
    async steps(p) {
      for (const bytes of [240, 240, 240, 240, 240, 260]) {
        await p.append(bytes * KB);
        await p.captureAll();
        await p.settle();
        await p.ack();
      }
    },
    // The new segment comes at the end; what is before it is as in the rows above.
    faults: (fault, calls) => isOneOfEach(fault) && !fault.lasting && fault.at > calls - LAST_CALLS,
  },
];

function start({ options }: Row): {
  world: ProducerWorld;
  disk: FaultyFileSystem;
  producer: Producer;
} {
  const world = ProducerWorld.fresh(below, options);
  let disk = new FaultyFileSystem();
  const producer = new Producer(world, undefined, (process) => {
    disk = new FaultyFileSystem({
      inner: process,
      onFailedSync: (handle) => process.spoil(handle),
    });
    return disk;
  });
  return { world, disk, producer };
}

async function judge(row: Row, fault: Fault): Promise<void> {
  const { world, disk, producer } = start(row);
  disk.arm(fault);
  producer.tolerant = true;
  let happened = false;
  const over = () => {
    happened ||= disk.hit;
    disk.arm(undefined);
  };
  await producer.live(async (p) => {
    await row.steps(p);
    over();
    assert.ok(happened, 'it has happened');
    await p.captureAtLast();
    await p.append(50);
    await p.captureAtLast();
  }, over);
  assert.equal(disk.openHandles, 0, 'files left open');
  await cutAndCheck(world, world.disk.now, 'nothing', 'fault');
  world.remove();
}

for (const row of ROWS) {
  test(`a fault at any call loses, doubles and promises nothing: ${row.name}`, async (t) => {
    const clean = start(row);
    clean.disk.arm(undefined);
    let calls: ReadonlyMap<Operation, number> = new Map();
    await clean.producer.live(async (p) => {
      await row.steps(p);
      calls = new Map(clean.disk.calls);
    });
    let tried = 0;
    for (const fault of everyFault(calls)) {
      const few = ROUNDS === 1 && row.faults !== undefined;
      if (few && !row.faults?.(fault, calls.get(fault.operation) ?? 0)) continue;
      tried += 1;
      await judge(row, fault).catch((error: unknown) => {
        const why = error instanceof Error ? error.stack : String(error);
        throw new Error(`${nameOf(fault)}: ${why}`);
      });
    }
    t.diagnostic(`${tried} faults`);
  });
}
