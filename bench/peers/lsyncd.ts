import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { freePort } from '../../test/support/freePort.js';
import type { Bench } from '../harness/lab.js';
import { answers, onPath } from '../harness/system.js';
import type { Contender, Pair } from './contender.js';

/** Seconds that lsyncd gathers events; by default 15. */
const DELAY_S = 1;

async function prepare(bench: Bench): Promise<Pair> {
  const port = await freePort();
  mkdirSync(bench.path('mirror'));
  // Root's daemon would otherwise write as nobody.
  const owner = process.getuid?.() === 0 ? 'uid = root\ngid = root\n' : '';
  writeFileSync(
    bench.path('rsyncd.conf'),
    `use chroot = no
${owner}lock file = ${bench.path('rsyncd.lock')}
[mirror]
path = ${bench.path('mirror')}
read only = no
`,
  );
  // A writer that keeps its file open never causes the event that lsyncd waits for by default.
  writeFileSync(
    bench.path('lsyncd.lua'),
    `settings { nodaemon = true, insist = true, inotifyMode = "Modify" }
sync {
  default.rsync,
  source = "${bench.path('fifo')}/",
  target = "rsync://127.0.0.1:${port}/mirror/",
  delay = ${DELAY_S},
  rsync = { _extra = { "--append", "--fsync" } },
}
`,
  );
  const received = bench.path('mirror', 'journal');
  const journal = bench.path('fifo', 'journal');
  writeFileSync(journal, '');
  return {
    journal,
    async start(side) {
      if (side === 'sender') return bench.start('lsyncd', 'lsyncd', [bench.path('lsyncd.lua')]);
      const args = ['--daemon', '--no-detach', `--config=${bench.path('rsyncd.conf')}`];
      const child = bench.start('rsyncd', 'rsync', [
        ...args,
        '--address=127.0.0.1',
        `--port=${port}`,
      ]);
      await bench.until('rsync listens', () => answers(port, child));
      return child;
    },
    receivedBytes: () => (existsSync(received) ? statSync(received).size : 0),
    received: () => readFileSync(received),
  };
}

export const lsyncd: Contender = {
  name: 'lsyncd + rsync',
  wire: 'rsync’s own, no TLS',
  durability: 'synced, each run of rsync',
  source: 'stays and grows',
  packages: ['lsyncd', 'rsync'],
  missing: () => ['lsyncd', 'rsync'].filter((program) => !onPath(program)),
  prepare,
};
