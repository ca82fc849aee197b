import assert from 'node:assert/strict';
import { after } from 'node:test';
import { until } from './process.js';

/** What a finished test file may not leave behind: each would keep a real process from ending. */
const LEAKS = new Set([
  'ProcessWrap',
  'TCPSocketWrap',
  'TCPServerWrap',
  'PipeWrap',
  'PipeServerWrap',
  'TLSWrap',
  'Timeout',
  'Immediate',
  'FSEventWrap',
  'StatWatcher',
]);

/** Sockets that were told to close need a few turns of the event loop, and a busy machine has few. */
const GRACE_MS = 10_000;

/**
 * Fails the test file when it leaves sockets, timers or child processes behind. Call it at the end
 * of the file: `after` hooks run in the order of their registration, and this one looks at what
 * the others have left. What a test registers while it runs is cleaned up when that test ends.
 */
export function failOnLeaks(): void {
  // Made on first use, and then kept: not a leak.
  void process.stdout;
  void process.stderr;
  const before = count();
  after(async () => {
    let left: string[] = [];
    await until(
      'nothing is left open',
      () => {
        left = leaksSince(before);
        return left.length === 0;
      },
      GRACE_MS,
    ).catch(() => undefined);
    assert.deepEqual(left, [], 'left open by this test file');
  });
}

function count(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo()) {
    if (LEAKS.has(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function leaksSince(before: ReadonlyMap<string, number>): string[] {
  const left: string[] = [];
  for (const [name, number] of count()) {
    // `until` itself sleeps on a timer, but not at the moment of this look.
    for (let extra = number - (before.get(name) ?? 0); extra > 0; extra -= 1) left.push(name);
  }
  return left;
}
