import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../test/support/freePort.js';
import type { Bench } from '../harness/lab.js';
import type { Contender, Pair } from './contender.js';

async function prepare(bench: Bench): Promise<Pair> {
  const port = await freePort();
  const journal = bench.path('fifo', 'journal');
  writeFileSync(journal, '');
  bench.configure({
    ports: { replica: port },
    destination: 'dialect: h2',
    journals: ['name: journal, path: fifo/journal, to: replica, interval: 1s'],
  });
  const dir = bench.path('received', 'journal.r', 'batches');
  const sizes = new Map<string, number>();
  /** Batches get their names in order, whole, and keep them. */
  const batches = (): string[] =>
    existsSync(dir)
      ? readdirSync(dir)
          .filter((name) => name.endsWith('.batch'))
          .sort()
      : [];
  return {
    journal,
    async start(side) {
      if (side === 'sender') return bench.ferry('run');
      return (await bench.receiver('', 'received', port)).child;
    },
    receivedBytes() {
      let sum = 0;
      for (const name of batches()) {
        const size = sizes.get(name) ?? statSync(join(dir, name)).size;
        sizes.set(name, size);
        sum += size;
      }
      return sum;
    },
    received: () => Buffer.concat(batches().map((name) => readFileSync(join(dir, name)))),
  };
}

export const ours: Contender = {
  name: 'ours',
  wire: 'HTTP/2 over TLS',
  durability: 'synced, each batch',
  source: 'emptied under its lock',
  packages: [],
  missing: () => [],
  prepare,
};
