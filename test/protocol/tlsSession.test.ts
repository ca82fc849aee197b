import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  createServer,
  type Server,
  type TLSSocket,
} from 'node:tls';
import fc from 'fast-check';
import { withoutCertificate } from '../../src/protocol/tlsSession.js';
import { testCerts } from '../support/certs.js';

const certs = testCerts();

/** DER of one element. */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const hex = content.length.toString(16);
  const length = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  return Buffer.concat([Buffer.of(tag, 0x80 + length.length), length, content]);
}

const VERSION = der(0x02, Buffer.of(1));
const TLS_1_3 = der(0x02, Buffer.of(0x03, 0x04));
const TLS_1_2 = der(0x02, Buffer.of(0x03, 0x03));
const SECRETS = [
  der(0x04, Buffer.of(0x13, 0x02)),
  der(0x04, Buffer.alloc(32, 1)),
  der(0x04, Buffer.alloc(48, 2)),
];
const TIME = der(0xa1, der(0x02, Buffer.of(7)));
const PEER = der(0xa3, der(0x30, Buffer.alloc(300, 3)));
const CONTEXT = der(0xa4, der(0x04));
const FAILED = der(0xa5, der(0x02, Buffer.of(18)));
const TICKET = der(0xaa, der(0x04, Buffer.alloc(200, 4)));
const FIELDS = [TIME, PEER, CONTEXT, TICKET];

const session = (...parts: Buffer[]): Buffer => der(0x30, ...parts);
const good = session(VERSION, TLS_1_3, ...SECRETS, ...FIELDS);

function assertUnchanged(bytes: Buffer): void {
  const copy = Buffer.from(bytes);
  assert.equal(withoutCertificate(bytes), bytes);
  assert.deepEqual(bytes, copy);
}

describe('a session without the certificate of the peer', () => {
  test('is the same in all else', () => {
    const expected = session(VERSION, TLS_1_3, ...SECRETS, TIME, CONTEXT, TICKET);
    assert.deepEqual(withoutCertificate(good), expected);
    assert.equal(withoutCertificate(expected), expected);
  });

  test('is right for every length of what stays', () => {
    for (const length of [0, 1, 10, 40, 100, 127, 128, 255, 256, 65_535, 65_536]) {
      const ticket = der(0xaa, der(0x04, Buffer.alloc(length, 5)));
      const head = [VERSION, TLS_1_3, ...SECRETS];
      assert.deepEqual(
        withoutCertificate(session(...head, PEER, ticket)),
        session(...head, ticket),
      );
    }
  });

  test('is not made of one of TLS 1.2, nor of one that was not verified', () => {
    assertUnchanged(session(VERSION, TLS_1_2, ...SECRETS, ...FIELDS));
    assertUnchanged(session(VERSION, TLS_1_3, ...SECRETS, TIME, PEER, CONTEXT, FAILED, TICKET));
  });

  test('is not made of another form', () => {
    const word = Buffer.from('\0node:tls:session:');
    const [cipher, id, key] = SECRETS as [Buffer, Buffer, Buffer];
    const others = {
      empty: Buffer.alloc(0),
      'a word in front': Buffer.concat([word, good]),
      'a byte behind': Buffer.concat([good, Buffer.of(0)]),
      'another version': session(der(0x02, Buffer.of(2)), TLS_1_3, ...SECRETS, ...FIELDS),
      'no version': session(TLS_1_3, ...SECRETS, ...FIELDS),
      'no key': session(VERSION, TLS_1_3, cipher, id, ...FIELDS),
      'a field too many in front': session(VERSION, TLS_1_3, cipher, id, key, key, ...FIELDS),
      'fields in another order': session(VERSION, TLS_1_3, ...SECRETS, PEER, TIME),
      'two certificates': session(VERSION, TLS_1_3, ...SECRETS, PEER, PEER),
      'a tag of several bytes': session(VERSION, TLS_1_3, ...SECRETS, PEER, der(0xbf, TIME)),
      'no sequence': der(0x31, VERSION, TLS_1_3, ...SECRETS, ...FIELDS),
      'a length of unknown end': Buffer.concat([Buffer.of(0x30, 0x80), good.subarray(4)]),
      'a length that is written too long': Buffer.concat([
        Buffer.of(0x30, 0x83, 0x00),
        good.subarray(2),
      ]),
    };
    for (const [what, bytes] of Object.entries(others)) {
      assert.equal(withoutCertificate(bytes), bytes, what);
    }
  });

  test('is not made of one that is cut or has a length changed, at any place', () => {
    for (let at = 0; at < good.length; at += 1) assertUnchanged(good.subarray(0, at));
    for (const at of [1, 2, 3, 5, 8, 12, 16, 50]) {
      const bent = Buffer.from(good);
      bent[at] = (bent[at] ?? 0) ^ 0x55;
      const got = withoutCertificate(bent);
      // What is in a value is not looked at; where a value begins and ends is.
      assert.ok(got === bent || got.length < bent.length);
    }
  });

  test('never breaks on whatever bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(good.length), (bytes, at) => {
        const any = Buffer.from(bytes);
        assertUnchanged(any);
        const torn = Buffer.concat([good.subarray(0, at), any, good.subarray(at)]);
        assert.ok(withoutCertificate(torn).length <= torn.length);
      }),
    );
  });
});

describe('with a real server', () => {
  let server: Server;

  before(async () => {
    server = createServer({ cert: certs.cert, key: certs.key }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('end', () => socket.end());
      socket.write('.'); // behind the tickets
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => server.close());

  /** A connection that has had its answer, and the last session that was handed out before it. */
  async function visit(
    options: ConnectionOptions,
    look: (socket: TLSSocket) => void = () => undefined,
  ): Promise<{ reused: boolean; authorized: boolean; session: Buffer | null }> {
    const { port } = server.address() as AddressInfo;
    const socket = connect({ port, host: 'localhost', servername: 'localhost', ...options });
    let last: Buffer | null = null;
    socket.on('session', (latest: Buffer) => {
      last = latest;
    });
    await once(socket, 'data');
    look(socket);
    const found = { reused: socket.isSessionReused(), authorized: socket.authorized };
    socket.end();
    await once(socket, 'close');
    return { ...found, session: last };
  }

  const context = (maxVersion: 'TLSv1.2' | 'TLSv1.3') =>
    createSecureContext({ ca: certs.ca, maxVersion });

  test('it is resumed, and counts as verified, in the way of one with its certificate', async () => {
    const secureContext = context('TLSv1.3');
    const first = await visit({ secureContext });
    assert.deepEqual([first.reused, first.authorized], [false, true]);
    assert.ok(first.session !== null);
    const short = withoutCertificate(first.session);
    const plain = first.session[0] === 0x30;
    assert.equal(short.length < first.session.length, plain, 'Node 20 hands out plain DER');
    let shown: unknown;
    const again = await visit({ secureContext, session: short }, (socket) => {
      shown = socket.getPeerCertificate();
    });
    assert.deepEqual([again.reused, again.authorized], [true, true]);
    if (plain) assert.deepEqual(shown, {});
    // What such a connection hands out in turn has none either.
    if (again.session !== null && plain) assert.ok(again.session.length < first.session.length);
  });

  test('a server that does not take it is verified from the beginning', async () => {
    const { session } = await visit({ secureContext: context('TLSv1.3') });
    assert.ok(session !== null);
    server.setTicketKeys(Buffer.alloc(48, 9));
    const short = withoutCertificate(session);
    const full = await visit({ secureContext: context('TLSv1.3'), session: short });
    assert.deepEqual([full.reused, full.authorized], [false, true]);
    server.setTicketKeys(Buffer.alloc(48, 10));
    await assert.rejects(visit({ secureContext: createSecureContext({}), session: short }), {
      code: /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/,
    });
  });

  test('those of TLS 1.2 and those of a server that is not verified stay as they are', async () => {
    const old = await visit({ secureContext: context('TLSv1.2') });
    const unverified = await visit({
      secureContext: createSecureContext({}),
      rejectUnauthorized: false,
    });
    assert.equal(unverified.authorized, false);
    for (const { session } of [old, unverified]) {
      assert.ok(session !== null);
      assertUnchanged(session);
    }
  });
});
