/**
 * What OpenSSL keeps of a TLS session, as Node hands it out: DER of
 *
 *     SEQUENCE { version 1, protocol, cipher, session id, key, [1] time, [2] timeout,
 *                [3] certificate of the peer, [4] context, [5] result of the verification, ... }
 *
 * OpenSSL parses that certificate anew for every connection that offers the session, and nobody
 * looks at it there: with 3.0 it was 181 us of `setSession`, and is 7 us without it.
 */
const SEQUENCE = 0x30;
const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const FIELD = 0xa0;
const FIELD_MAX = 0xbe;
const PEER = FIELD + 3;
const VERIFY_RESULT = FIELD + 5;

const SESSION_VERSION = Buffer.of(1);
const TLS_1_3 = Buffer.of(0x03, 0x04);
/** What stands in front of the fields. */
const HEAD = [INTEGER, INTEGER, OCTET_STRING, OCTET_STRING, OCTET_STRING];

interface Element {
  tag: number;
  from: number;
  content: number;
  end: number;
}

/**
 * The session without the certificate of the peer, for a later connection to offer.
 *
 * Only for one that was **verified**: Node takes a resumed session of TLS 1.3 that holds no
 * certificate for verified, whatever its result was. One whose result is another than "good" stays
 * as it is all the same, and so does one of TLS 1.2, where Node would not take it at all. A form
 * that is not exactly the one above (Node 22 and later put a word of theirs in front) is left alone.
 *
 * @returns `session` itself where there is nothing to leave out
 */
export function withoutCertificate(session: Buffer): Buffer {
  const whole = elementAt(session, 0, session.length);
  if (whole?.tag !== SEQUENCE || whole.end !== session.length) return session;
  const elements = elementsOf(session, whole);
  if (elements === null || !isVerifiedTls13(session, elements)) return session;
  const peer = elements.find(({ tag }) => tag === PEER);
  if (peer === undefined) return session;
  const before = session.subarray(whole.content, peer.from);
  const after = session.subarray(peer.end);
  return Buffer.concat([header(SEQUENCE, before.length + after.length), before, after]);
}

function isVerifiedTls13(session: Buffer, elements: readonly Element[]): boolean {
  const [version, protocol] = elements;
  if (HEAD.some((tag, i) => elements[i]?.tag !== tag)) return false;
  if (version === undefined || !contentOf(session, version).equals(SESSION_VERSION)) return false;
  if (protocol === undefined || !contentOf(session, protocol).equals(TLS_1_3)) return false;
  // In rising order, each at most once. "Good" is the default, and so not written.
  let last = FIELD;
  for (const { tag } of elements.slice(HEAD.length)) {
    if (tag <= last || tag > FIELD_MAX || tag === VERIFY_RESULT) return false;
    last = tag;
  }
  return true;
}

/** What a constructed element consists of; null when it is not that, to the last byte. */
function elementsOf(der: Buffer, whole: Element): Element[] | null {
  const elements: Element[] = [];
  for (let at = whole.content; at < whole.end; ) {
    const element = elementAt(der, at, whole.end);
    if (element === null) return null;
    elements.push(element);
    at = element.end;
  }
  return elements;
}

function elementAt(der: Buffer, from: number, limit: number): Element | null {
  const tag = der[from];
  const first = der[from + 1];
  if (tag === undefined || first === undefined || from + 2 > limit) return null;
  let content = from + 2;
  let length = first;
  if (first >= 0x80) {
    const bytes = first - 0x80;
    // No form of unknown length, nor one beyond any session's.
    if (bytes < 1 || bytes > 3 || content + bytes > limit) return null;
    length = der.readUIntBE(content, bytes);
    content += bytes;
    if (header(tag, length).length !== content - from) return null; // not the shortest form
  }
  const end = content + length;
  return end > limit ? null : { tag, from, content, end };
}

function contentOf(der: Buffer, { content, end }: Element): Buffer {
  return der.subarray(content, end);
}

function header(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.of(tag, length);
  const bytes = length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
  const out = Buffer.alloc(2 + bytes);
  out[0] = tag;
  out[1] = 0x80 + bytes;
  out.writeUIntBE(length, 2, bytes);
  return out;
}
