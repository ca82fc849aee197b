import type { X509Certificate } from 'node:crypto';
import type { Findings } from './examination.js';

const DAY_MS = 24 * 3600 * 1000;

/** Time enough for whoever has to renew it. */
const EXPIRY_WARN_MS = 14 * DAY_MS;

/** Whether a certificate is valid now, and for how long. */
export function judgeValidity(
  check: string,
  what: string,
  certificate: X509Certificate,
  findings: Findings,
): void {
  const now = Date.now();
  const from = new Date(certificate.validFrom);
  const to = new Date(certificate.validTo);
  const day = (date: Date): string => date.toISOString().slice(0, 10);
  if (from.getTime() > now) {
    findings.fail(
      check,
      `is valid only from ${from.toISOString()} on; this host’s clock says ${new Date(now).toISOString()}`,
      'check this host’s clock, else wait, or renew it',
    );
  } else if (to.getTime() <= now) {
    findings.fail(check, `has expired on ${day(to)}`, 'renew it, or check this host’s clock');
  } else if (to.getTime() - now < EXPIRY_WARN_MS) {
    const days = Math.floor((to.getTime() - now) / DAY_MS);
    findings.warn(check, `expires on ${day(to)}, in ${days} days`, 'renew it');
  } else findings.ok(check, `${what}, valid until ${day(to)}`);
}
