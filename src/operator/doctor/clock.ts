/** This host's clock against that of Redis. A certificate that is not valid yet says itself. */
import type { RedisClient } from '../../queue/connection.js';
import { LEASE_MS } from '../../queue/routeOrder.js';
import type { Findings } from './examination.js';

/** What a working time service keeps easily; more shows in ages and in the log. */
const SKEW_WARN_MS = 1_000;
/** Redis's clock ends leases, and ours wakes what waits: a part of a lease is too much. */
const SKEW_FAIL_MS = LEASE_MS / 5;
/** The quickest answer says most. */
const QUESTIONS = 3;

export async function checkClock(client: RedisClient, findings: Findings): Promise<void> {
  let best = { skewMs: 0, tookMs: Number.POSITIVE_INFINITY };
  for (let question = 0; question < QUESTIONS; question += 1) {
    const asked = Date.now();
    const begun = performance.now();
    let answer: unknown;
    try {
      answer = await client.time();
    } catch {
      findings.skipped('TIME is not allowed', 'clock');
      return;
    }
    const tookMs = performance.now() - begun;
    const [seconds = 0, micros = 0] = Array.isArray(answer) ? answer.map(Number) : [];
    if (tookMs >= best.tookMs) continue;
    best = { tookMs, skewMs: seconds * 1000 + micros / 1000 - (asked + tookMs / 2) };
  }
  judgeClock(best, findings);
}

/** What a difference is worth; half of the way to Redis and back is not known. Also for tests. */
export function judgeClock(
  { skewMs, tookMs }: { skewMs: number; tookMs: number },
  findings: Findings,
): void {
  const surely = Math.max(0, Math.abs(skewMs) - tookMs / 2);
  const which = skewMs > 0 ? 'ahead of' : 'behind';
  const said = `Redis’s clock is ${(Math.abs(skewMs) / 1000).toFixed(1)} s ${which} this host’s`;
  const hint = 'let a time service set both clocks: timedatectl set-ntp true';
  if (surely > SKEW_FAIL_MS) {
    findings.fail(
      'clock',
      `${said}: Redis’s ends leases of ${LEASE_MS / 1000} s and this one wakes what is to be tried again; one of them is wrong`,
      hint,
    );
  } else if (surely > SKEW_WARN_MS) {
    findings.warn('clock', `${said}: ages, retries and delays are off by that`, hint);
  } else findings.ok('clock', `agrees with Redis’s within ${Math.ceil(Math.abs(skewMs))} ms`);
}
