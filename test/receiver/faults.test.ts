import assert from 'node:assert/strict';
import { connect as connectTcp, type Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { requestHead } from '../../src/protocol/encode.js';
import { formatBatchKey, formatBlobKey } from '../../src/protocol/identityHeaders.js';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { untilClosed } from '../support/tcpTable.js';
import {
  claim,
  endpointOf,
  KEY,
  receiverConfig,
  STREAM,
  settled,
  ship,
  TestReceiver,
} from './harness.js';
import {
  END_STREAM,
  FRAME,
  FrameReader,
  frame,
  headersFrame,
  OPENING,
  requestHeaders,
  resetFrame,
} from './rawH2.js';

after(settled);
failOnLeaks();

/**
 * What a sender does at a step: resets; is killed, so that its kernel ends the connection without
 * close_notify; stops for a while; or vanishes without a word.
 */
type Fault = 'reset' | 'kill' | 'stall' | 'half-open';
const FAULTS: readonly Fault[] = ['reset', 'kill', 'stall', 'half-open'];
/** Over HTTP/2 a sender can also take back one request, and the connection goes on. */
const H2_FAULTS: readonly (Fault | 'cancel')[] = [...FAULTS, 'cancel'];

const STEPS = [
  'TCP connect',
  'half a TLS handshake',
  'TLS handshake',
  'half the header',
  'header',
  'half the key',
  'key',
  'half an announcement',
  'announcement',
  'half the data',
  'all but the end',
  'end',
  'answer read',
] as const;
type Step = (typeof STEPS)[number];

/** Of them the old wire only has key and announcement. */
const H2_STEPS = STEPS.filter((step) => !/key|announcement/.test(step));

interface Row {
  kind: 'batch' | 'blob';
  dialect: 'acked' | 'eof' | 'h2';
  step: Step;
  fault: Fault | 'cancel';
}

const DATA = 'some data '.repeat(100);
/** Honest connections have it too: longer than a busy machine pauses. */
const IDLE_MS = 3_000;
const PATH = 'a/b';
/** Of the sender that comes afterwards: what it waits for is not what is tried. */
const PATIENT = { connectMs: 60_000, idleMs: 60_000, applyMs: 60_000 };

const ROWS: Row[] = [];
for (const dialect of ['acked', 'eof'] as const) {
  for (const kind of ['batch', 'blob'] as const) {
    for (const step of STEPS) {
      // There the end is the sender's end of file, and nothing is answered.
      if (kind === 'blob' && dialect === 'eof' && (step === 'end' || step === 'answer read')) {
        continue;
      }
      for (const fault of FAULTS) {
        // A batch is the same in both dialects.
        const waits = fault === 'stall' || fault === 'half-open';
        if (kind === 'batch' && dialect === 'eof' && waits) continue;
        ROWS.push({ kind, dialect, step, fault });
      }
    }
  }
}

for (const kind of ['batch', 'blob'] as const) {
  for (const step of H2_STEPS) {
    for (const fault of H2_FAULTS) {
      // There must be a request that can be taken back.
      if (fault === 'cancel' && STEPS.indexOf(step) < STEPS.indexOf('header')) continue;
      ROWS.push({ kind, dialect: 'h2', step, fault });
    }
  }
}

/** The bytes up to a step, over HTTP/2. */
function h2Request(kind: Row['kind'], step: Step): Buffer {
  const identity =
    kind === 'batch'
      ? { 'idempotency-key': formatBatchKey(claim(1, 0, DATA)) }
      : {
          ':method': 'PUT',
          ':path': `/foo.r/blobs/${PATH}`,
          'idempotency-key': formatBlobKey({ stream: STREAM, version: 1 }),
        };
  const header = headersFrame(1, requestHeaders(DATA.length, identity));
  const data = (text: string, flags = 0) => frame(FRAME.data, flags, 1, Buffer.from(text));
  switch (step) {
    case 'half the header':
      return Buffer.concat([OPENING, header.subarray(0, header.length / 2)]);
    case 'header':
      return Buffer.concat([OPENING, header]);
    case 'half the data':
      return Buffer.concat([OPENING, header, data(DATA.slice(0, DATA.length / 2))]);
    case 'all but the end':
      return Buffer.concat([OPENING, header, data(DATA)]);
    case 'end':
    case 'answer read':
      return Buffer.concat([OPENING, header, data(DATA), data('', END_STREAM)]);
    default:
      return Buffer.alloc(0);
  }
}

/** The bytes up to a step. */
function request({ kind, dialect }: Row, step: Step): string | Buffer {
  if (dialect === 'h2') return h2Request(kind, step);
  const endsWithEof = kind === 'blob' && dialect === 'eof';
  const head = requestHead(
    { url: 'foo.r/!replica', host: 'localhost', port: 1 },
    kind === 'batch' ? claim(1, 0, DATA) : { stream: STREAM, version: 1 },
    endsWithEof ? DATA.length : undefined,
  );
  const announcement =
    kind === 'batch' ? `${DATA.length}\n` : endsWithEof ? `${PATH}\n` : `${PATH}\n${DATA.length}\n`;
  const before = head + KEY;
  switch (step) {
    case 'half the header':
      return head.slice(0, head.length / 2);
    case 'header':
      return head;
    case 'half the key':
      return head + KEY.slice(0, 5);
    case 'key':
      return before;
    case 'half an announcement':
      return before + announcement.slice(0, -2);
    case 'announcement':
      return before + announcement;
    case 'half the data':
      return before + announcement + DATA.slice(0, DATA.length / 2);
    case 'all but the end':
      return before + announcement + DATA;
    case 'end':
    case 'answer read':
      return `${before}${announcement}${DATA}T`;
    default:
      return '';
  }
}

/** Comes as far as the step; the TCP socket is what the accident then happens to. */
async function comeTo(row: Row, port: number): Promise<{ tcp: Socket; plain: Socket }> {
  const tcp = connectTcp({ port, host: '127.0.0.1' });
  tcp.on('error', () => undefined);
  await new Promise<void>((resolve) => tcp.once('connect', resolve));
  if (row.step === 'TCP connect') return { tcp, plain: tcp };
  if (row.step === 'half a TLS handshake') {
    // The header of a record with a ClientHello that never comes whole.
    tcp.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0]));
    return { tcp, plain: tcp };
  }
  const alpn = row.dialect === 'h2' ? { ALPNProtocols: ['h2'] } : {};
  const tls = connectTls({ socket: tcp, ca: testCerts().ca, servername: 'localhost', ...alpn });
  tls.on('error', () => undefined);
  await new Promise<void>((resolve) => tls.once('secureConnect', resolve));
  const bytes = request(row, row.step);
  const answers = row.dialect === 'h2' ? new FrameReader(tls) : null;
  if (bytes.length > 0) await new Promise<unknown>((resolve) => tls.write(bytes, resolve));
  if (row.step === 'answer read') {
    if (answers === null) await new Promise<void>((resolve) => tls.once('data', () => resolve()));
    else await answers.first(({ type }) => type === FRAME.headers);
  }
  return { tcp, plain: tls };
}

/** `resetAndDestroy` sends a FIN before the reset, which is another accident. */
function reset(tcp: Socket): void {
  const handle: unknown = Reflect.get(tcp, '_handle');
  (handle as { reset(done: () => void): void }).reset(() => tcp.destroy());
}

async function judge(row: Row): Promise<void> {
  const { kind, dialect, step, fault } = row;
  const limits = { maxBatchBytes: null, maxBlobBytes: null, idleMs: IDLE_MS, connections: 8 };
  const oldWire = dialect === 'h2' ? 'acked' : dialect;
  const receiver = await new TestReceiver(receiverConfig({ dialect: oldWire, limits })).start();
  const { port } = receiver;
  const { tcp, plain } = await comeTo(row, port);
  const mine = tcp.localPort ?? 0;
  try {
    if (fault === 'cancel') (plain as TLSSocket).write(resetFrame(1));
    else if (fault === 'reset') reset(tcp);
    else if (fault === 'kill') tcp.end();
    else plain.pause();
    await untilClosed(port, mine);
    if (fault === 'stall') {
      plain.resume();
      await until('the sender sees its end', () => plain.closed);
    }
    // Half a body never shows; a whole one whose sender vanished may have been taken.
    await until('nothing is left of it', () => receiver.parts().length === 0);
    const endsWithEof = kind === 'blob' && dialect === 'eof';
    const last: Step = endsWithEof ? 'all but the end' : 'end';
    const whole = step === last;
    const stored = kind === 'batch' ? receiver.batches() : [receiver.blob(PATH)].filter((b) => b);
    if (step === 'answer read') assert.deepEqual(stored, [DATA]);
    else assert.ok(stored.length === 0 || (whole && stored[0] === DATA), `${stored}`);

    const endpoint = { ...endpointOf(port), dialect, timeouts: PATIENT };
    if (kind === 'batch') {
      await ship(port, DATA, claim(1, 0, DATA), undefined, endpoint);
      await ship(port, 'next', claim(2, 1, 'next'), undefined, endpoint);
      assert.deepEqual(receiver.batches(), [DATA, 'next']);
    } else {
      await ship(port, DATA, { stream: STREAM, version: 1 }, PATH, endpoint);
      assert.equal(receiver.blob(PATH), DATA);
    }
    assert.deepEqual(receiver.parts(), []);
  } finally {
    tcp.destroy();
    await receiver.stop();
  }
}

describe('an accident of the sender at every step of the wire', { concurrency: 48 }, () => {
  for (const row of ROWS) {
    test(`${row.kind}, ${row.dialect}: ${row.fault} after: ${row.step}`, () => judge(row));
  }
});
