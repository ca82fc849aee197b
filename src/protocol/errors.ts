import { asError, FerryError, systemCode } from '../common/errors.js';
import { addressOf, type Endpoint } from './endpoint.js';

/** What the operator can do, per code. Messages say what was seen, hints what to do about it. */
const HINTS = {
  CONNECTION_REFUSED: 'check host and port, and that the server is running',
  HOST_UNKNOWN: 'check the host name and the DNS of this machine',
  HOST_UNREACHABLE: 'check the network, routes and firewalls between here and there',
  CERTIFICATE_INVALID: 'check the server’s certificate, tls.ca and tls.servername',
  TLS_FAILED: 'check that the port speaks TLS 1.2 or later; `openssl s_client -connect` shows more',
  CONNECTION_RESET:
    'the replica behind the gate may be down; check that it runs on the port that the url names',
  CLOSED_WITHOUT_ANSWER:
    'most often the key differs from the server’s, else the replica went down; compare the key files',
  HTTP_ANSWER: 'check the url (application and port or name); the server did not reach the replica',
  PROTOCOL_ERROR: 'check that host, port, url and dialect belong to a replica',
  TIMEOUT_CONNECT: 'check host, port and firewalls; raise timeouts.connect for a slow line',
  TIMEOUT_IDLE: 'the server took nothing and said nothing; it may be busy with another connection',
  TIMEOUT_APPLY: 'the server is still applying or hangs; raise timeouts.apply for large batches',
  FALSE_ACK: 'the server closed before it could know the end: do not trust it; look at its log',
  HTTP2_NOT_OFFERED:
    'dialect: h2 needs a receiver of journal-ferry; write dialect: acked for PicoLisp’s own',
  KEY_REJECTED: 'compare the key file with the receiver’s, up to its last newline',
  STREAM_REFUSED:
    'the receiver has as many requests as its limits.connections allow, or stops; raise that, or lower connections here',
  RECEIVER_LIMIT:
    'goes on by itself; if it does not, raise apps[].limits at the receiver, or make room there',
  NOT_APPLIED: 'see `ferry status` at the receiver; it is asked again at the interval',
  CLIENT_CERTIFICATE_REFUSED:
    'name a certificate that the server’s authority has signed: tls.cert and tls.key',
  IDENTITY_REFUSED: 'see `last` and replay from there, or start the route anew',
} as const;

export type WireErrorCode = keyof typeof HINTS;

/** Codes that are not the far side's doing; the same wording everywhere. */
export type LocalErrorCode = 'LEASE_LOST' | 'ABORTED' | 'PAYLOAD_MISMATCH' | 'PAYLOAD_STALLED';

interface Details {
  cause?: unknown;
  context?: Readonly<Record<string, unknown>>;
  hint?: string;
  retry?: boolean;
}

/** An error of the far side or the network: kind `destination`, retried unless said otherwise. */
export function wireError(code: WireErrorCode, message: string, details: Details = {}): FerryError {
  return new FerryError(code, message, {
    kind: 'destination',
    hint: details.hint ?? HINTS[code],
    ...(details.retry === undefined ? {} : { retry: details.retry }),
    ...(details.context === undefined ? {} : { context: details.context }),
    ...(details.cause === undefined ? {} : { cause: details.cause }),
  });
}

/** The lease of the route ended: another worker may be sending by now. */
export function leaseLost(): FerryError {
  return new FerryError('LEASE_LOST', 'the lease of this route ended before the commit byte', {
    kind: 'redis',
  });
}

/** The caller's signal: its reason if that is an error of ours, else ABORTED. */
export function aborted(signal: AbortSignal): FerryError {
  if (signal.reason instanceof FerryError) return signal.reason;
  return new FerryError('ABORTED', 'the attempt was cancelled', {
    kind: 'internal',
    retry: true,
    cause: signal.reason,
  });
}

/** The payload was shorter or longer than announced: nothing was committed. */
export function payloadMismatch(announced: number, seen: string): FerryError {
  return new FerryError(
    'PAYLOAD_MISMATCH',
    `the payload is ${seen}, announced ${announced} bytes`,
    {
      kind: 'storage',
      hint: 'the file changed while it was sent; the next attempt reads it afresh',
      context: { announced },
    },
  );
}

/** The payload's source gave nothing for the idle time. */
export function payloadStalled(idleMs: number): FerryError {
  return new FerryError('PAYLOAD_STALLED', `the payload’s source gave nothing for ${idleMs} ms`, {
    kind: 'storage',
    hint: 'check the disk of the spool, or Redis when payloads are kept there',
  });
}

/** The same error with more context; code, kind, hint and cause stay. */
export function withContext(
  error: unknown,
  context: Readonly<Record<string, unknown>>,
): FerryError {
  const e = asError(error);
  if (!(e instanceof FerryError)) {
    return new FerryError('INTERNAL', e.message, {
      kind: 'internal',
      retry: true,
      cause: e,
      context,
    });
  }
  return new FerryError(e.code, e.message, {
    kind: e.kind,
    retry: e.retry,
    context: { ...e.context, ...context },
    ...(e.hint === undefined ? {} : { hint: e.hint }),
    ...(e.cause === undefined ? {} : { cause: e.cause }),
  });
}

/** OpenSSL's word for a server that knows none of the protocols that were offered. */
const NO_PROTOCOL = new Set([
  'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL',
  'ERR_SSL_TLSV13_ALERT_NO_APPLICATION_PROTOCOL',
  'ERR_SSL_NO_APPLICATION_PROTOCOL',
]);

/** OpenSSL's words for a server that asks for a certificate of ours, and does not get a good one. */
const CERTIFICATE_WANTED = new Set([
  'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
  'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE',
  'ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
]);

/** With TLS 1.3 it comes after the handshake; null for any other error. */
export function certificateWanted(
  error: unknown,
  endpoint: Pick<Endpoint, 'host' | 'port'>,
): FerryError | null {
  if (!CERTIFICATE_WANTED.has(systemCode(error) ?? '')) return null;
  return wireError(
    'CLIENT_CERTIFICATE_REFUSED',
    `${addressOf(endpoint)} wants a certificate of ours`,
    { cause: error },
  );
}

/** The server is there, its certificate may be good, and it does not speak HTTP/2. */
export function http2NotOffered(
  endpoint: Pick<Endpoint, 'host' | 'port'>,
  cause?: unknown,
): FerryError {
  return wireError('HTTP2_NOT_OFFERED', `${addressOf(endpoint)} does not speak HTTP/2`, { cause });
}

const UNREACHABLE = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'ETIMEDOUT']);

/** OpenSSL's and Node's words for a certificate that is not accepted, in ours. */
const CERTIFICATE_TROUBLE: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: [
    'does not name this host',
    'set tls.servername to a name in the certificate, or connect by that name',
  ],
  CERT_HAS_EXPIRED: [
    'has expired',
    'renew the server’s certificate, or check this machine’s clock',
  ],
  CERT_NOT_YET_VALID: ['is not valid yet', 'check this machine’s clock'],
  CERT_REVOKED: ['was revoked', 'ask the owner of the server for a new certificate'],
};

const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_UNTRUSTED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_CHAIN_TOO_LONG',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'CERT_REJECTED',
]);

/** Sorts a socket error that came before the handshake was finished. */
export function connectError(
  error: unknown,
  endpoint: Pick<Endpoint, 'host' | 'port'>,
): FerryError {
  const code = systemCode(error) ?? '';
  const where = addressOf(endpoint);
  if (NO_PROTOCOL.has(code)) return http2NotOffered(endpoint, error);
  const wanted = certificateWanted(error, endpoint);
  if (wanted !== null) return wanted;
  if (code === 'ECONNREFUSED') {
    return wireError('CONNECTION_REFUSED', `${where} refuses connections`, { cause: error });
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code.startsWith('EAI_')) {
    return wireError('HOST_UNKNOWN', `the name ${endpoint.host} has no address`, { cause: error });
  }
  if (UNREACHABLE.has(code)) {
    return wireError('HOST_UNREACHABLE', `${where} cannot be reached (${code})`, { cause: error });
  }
  const trouble = CERTIFICATE_TROUBLE[code];
  if (trouble !== undefined) {
    const [what, hint] = trouble;
    return wireError('CERTIFICATE_INVALID', `the certificate of ${where} ${what}`, {
      cause: error,
      hint,
      context: { reason: code },
    });
  }
  if (UNTRUSTED.has(code)) {
    return wireError(
      'CERTIFICATE_INVALID',
      `the certificate of ${where} is not signed by an authority trusted here`,
      {
        cause: error,
        hint: 'name its authority in tls.ca, or in SSL_CERT_FILE',
        context: { reason: code },
      },
    );
  }
  return wireError('TLS_FAILED', `the TLS handshake with ${where} failed${code && ` (${code})`}`, {
    cause: error,
  });
}
