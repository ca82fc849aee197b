import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HOLDERS, KINDS, type Kind, type Target } from './kinds.js';

/*
 * The attackers, in a process of their own so that their work does not slow the honest ones:
 *
 *     node hostile.js <port> <connections to hold> <app>
 *
 * Prints `begun` when every kind is under way; after SIGTERM, as its last line, how often each kind
 * was tried, and how often it was answered with `T`.
 */

const [port = '', held = '', app = ''] = process.argv.slice(2);
const target: Target = {
  port: Number(port),
  app,
  key: readFileSync('hostile.key', 'latin1'),
};
const counts: Record<string, { tried: number; taken: number }> = {};
/** One in so many of those that hold a connection has a key: the others can be turned out. */
const WITH_KEY = 10;

async function lane(kind: Omit<Kind, 'lanes'>): Promise<never> {
  const count = counts[kind.name] ?? { tried: 0, taken: 0 };
  counts[kind.name] = count;
  for (;;) {
    count.tried += 1;
    if ((await kind.attack(target)).startsWith('T')) count.taken += 1;
    await sleep(kind.pauseMs * (0.5 + Math.random()));
  }
}

process.once('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
});
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit(143);
}, 1_000);

for (const kind of KINDS) for (let n = 0; n < kind.lanes; n += 1) void lane(kind);
const [silent, half, slow, body] = HOLDERS;
for (let n = 0; n < Number(held); n += 1) {
  const kind = n % WITH_KEY === 0 ? body : [silent, half, slow][n % 3];
  if (kind !== undefined) void lane(kind);
  // All at once would be a flood of another kind: the machine is shared with the honest ones.
  if (n % 20 === 19) await sleep(50);
}
process.stdout.write('begun\n');
