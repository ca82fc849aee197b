import { createHash } from 'node:crypto';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import type { Endpoint } from './endpoint.js';

/**
 * Secure contexts and TLS sessions, remembered for the life of the process. A context with all
 * roots costs some 20 ms and 1 MB to make, a full handshake 2.7 ms against 1.5 ms resumed.
 */
const contexts = new Map<string, SecureContext>();
const sessions = new Map<string, Buffer>();
const digests = new WeakMap<Buffer, string>();

/** More destinations than this and the longest unused session is forgotten: a full handshake. */
const SESSIONS_MAX = 4_096;
/** Trust changes only when an operator renews a CA; old contexts need not pile up. */
const CONTEXTS_MAX = 64;

/** What decides whom we trust, and as whom we come: two endpoints with the same answer may share a context. */
function trustId(tls: Endpoint['tls']): string {
  const client = tls.client ?? null;
  const own = client === null ? '' : `/${digest(client.cert)}/${digest(client.key)}`;
  if (!tls.verify) return `none${own}`;
  return `${digest(tls.ca)}/${tls.ca === null ? digest(tls.extraCa ?? null) : ''}${own}`;
}

function digest(pem: Buffer | null): string {
  if (pem === null) return '-';
  let known = digests.get(pem);
  if (known === undefined) {
    known = createHash('sha256').update(pem).digest('base64');
    digests.set(pem, known);
  }
  return known;
}

/** @throws Error of Node's when the CA is not PEM, or certificate and key of ours do not fit */
export function secureContextFor({ tls }: Pick<Endpoint, 'tls'>): SecureContext {
  const id = trustId(tls);
  let context = contexts.get(id);
  if (context === undefined) {
    const trusted =
      tls.ca !== null ? [tls.ca] : tls.extraCa ? [...rootCertificates, tls.extraCa] : null;
    context = createSecureContext({
      minVersion: 'TLSv1.2',
      ...(tls.verify && trusted !== null ? { ca: trusted } : {}),
      ...(tls.client ?? {}),
    });
    forgetOldest(contexts, CONTEXTS_MAX);
    contexts.set(id, context);
  }
  return context;
}

/**
 * A session is only ever offered where it was made: same place, same name, same trust. Node does
 * not check the host name again on a resumed session, so the name is part of this.
 */
export function sessionId(endpoint: Endpoint): string {
  const { host, port, name, tls } = endpoint;
  return JSON.stringify([name, host, port, tls.servername, trustId(tls)]);
}

export function rememberedSession(id: string): Buffer | undefined {
  return sessions.get(id);
}

export function rememberSession(id: string, session: Buffer): void {
  sessions.delete(id);
  forgetOldest(sessions, SESSIONS_MAX);
  sessions.set(id, session);
}

/** After a failed handshake: the next one starts clean. */
export function forgetSession(id: string): void {
  sessions.delete(id);
}

function forgetOldest(map: Map<string, unknown>, max: number): void {
  if (map.size < max) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}
