import { FerryError } from '../common/errors.js';

/** Names that people give instead of a port. The C library asks the system's list of services. */
const SERVICES: Readonly<Record<string, number>> = { https: 443, http: 80 };

/** @throws FerryError SSL_PORT (kind usage) */
export function servicePort(word: string): number {
  const port = /^[0-9]+$/.test(word) ? Number(word) : SERVICES[word];
  if (port !== undefined && port > 0 && port < 65_536) return port;
  throw new FerryError('SSL_PORT', `${JSON.stringify(word)} is no port`, {
    kind: 'usage',
    hint: 'write a number, such as 443',
  });
}
