import { describe } from '../common/errors.js';
import { routeName } from '../common/identity.js';
import type { FerryConfig, JournalConfig } from '../config/model.js';
import type { SpoolView } from '../producers/spool/types.js';
import { bytesInRedis, roomOf } from '../queue/memory.js';
import { redisFull } from '../queue/trouble.js';
import type { RedisView } from './redisView.js';

/** Whether a batch of this route stays in the spool only because Redis has no memory for it. */
export function waitsForMemory(
  config: FerryConfig,
  journal: JournalConfig,
  destination: string,
  spool: SpoolView,
  { routes, memory }: RedisView,
): boolean {
  const live = routes.get(routeName(journal.name, destination));
  if (live === undefined || memory === null || live.state.stream !== spool.stream) return false;
  const { head, tail } = live.state;
  const next = spool.batch(tail + 1);
  if (next === undefined) return false;
  // A head finds a place unless nothing at all may be written.
  if (tail < head) return memory.limit > 0 && memory.used >= memory.limit;
  const { ahead, queuedBytes } = journal.limits;
  if (tail - head + 1 >= ahead || live.pendingBytes + next.bytes > queuedBytes) return false;
  return bytesInRedis(next, config.payloads, queuedBytes) > roomOf(memory);
}

/** `CODE: what is wrong: what to do`, as a route's last error is said. */
export function describeFull({ memory }: RedisView): string {
  const full = redisFull(`${memory?.used} of ${memory?.limit} bytes are used (maxmemory)`);
  return `${full.code}: ${describe(full)}`;
}
