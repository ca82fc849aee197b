/**
 * Errors that say something of a whole destination, or of how we are to reach it: whatever else is
 * to be sent there would meet them, too, as long as nothing gets through.
 */
const CODES: ReadonlySet<string> = new Set([
  // No connection came about.
  'CONNECTION_REFUSED',
  'HOST_UNKNOWN',
  'HOST_UNREACHABLE',
  'TIMEOUT_CONNECT',
  'TLS_FAILED',
  'CERTIFICATE_INVALID',
  'CLIENT_CERTIFICATE_REFUSED',
  'HTTP2_NOT_OFFERED',
  // It broke before an answer: the replica behind the gate is down, or the key is another one.
  'CONNECTION_RESET',
  'CLOSED_WITHOUT_ANSWER',
  'KEY_REJECTED',
  // It was not tried: a file that every attempt needs is not there.
  'CA_FILE_MISSING',
  'CA_INVALID',
  'CLIENT_CERTIFICATE_MISSING',
  'HOST_FILE_MISSING',
  'KEY_FILE_MISSING',
  'KEY_WITHOUT_NEWLINE',
]);

export function isOfDestination(code: string): boolean {
  return CODES.has(code);
}
