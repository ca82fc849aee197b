import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import { type Body, type Endpoint, send } from '../../src/protocol/index.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { untilClosed } from '../support/tcpTable.js';
import { type Fault, FaultyPeer, STEPS, type Step } from './faultyPeer.js';
import { pieces } from './scriptedServer.js';

failOnLeaks();

/** Fits into one write, so that everything is sent before the peer reads the first byte. */
const SMALL_BYTES = 5_000;
/** More than the kernel takes of a connection whose peer does not read. */
const LARGE_BYTES = 16_000_000;
/** Short where a deadline must fire, long where one that fires is an error. */
const SHORT_MS = 600;
const SHORT_GROWTH = 4;
const LONG_MS = 10_000;

interface Row {
  kind: Body['kind'];
  dialect: Endpoint['dialect'];
  confirm: Endpoint['confirm'];
  step: Step;
  fault: Fault;
  bytes: number;
}

/** The steps that a row's request comes by. */
function stepsOf(endsWithEof: boolean): Step[] {
  return STEPS.filter((step) => !endsWithEof || (step !== 'end read' && step !== 'answered'));
}

const ROWS: Row[] = [];
for (const dialect of ['acked', 'eof'] as const) {
  for (const kind of ['batch', 'blob'] as const) {
    const endsWithEof = kind === 'blob' && dialect === 'eof';
    for (const confirm of ['applied', 'acked'] as const) {
      if (endsWithEof && confirm === 'acked') continue; // there is nothing to be acked
      for (const step of stepsOf(endsWithEof)) {
        // What counts as a confirmation makes no difference before there is one.
        if (confirm === 'acked' && STEPS.indexOf(step) < STEPS.indexOf('end read')) continue;
        for (const fault of ['reset', 'stall', 'half-open'] as const) {
          ROWS.push({ kind, dialect, confirm, step, fault, bytes: SMALL_BYTES });
          const once = kind === 'batch' ? dialect === 'acked' : endsWithEof;
          if (step === 'some of the data' && confirm === 'applied' && once) {
            ROWS.push({ kind, dialect, confirm, step, fault, bytes: LARGE_BYTES });
          }
        }
      }
    }
  }
}

/** What the attempt must end in: null is "confirmed". */
interface Verdict {
  codes: readonly string[];
  afterT: boolean;
}

function verdictOf(row: Row): Verdict | null {
  const { step, fault, confirm } = row;
  const endsWithEof = row.kind === 'blob' && row.dialect === 'eof';
  const small = row.bytes === SMALL_BYTES;
  const reset = fault === 'reset';
  switch (step) {
    case 'TCP connect':
    case 'half a TLS handshake':
      return { codes: [reset ? 'TLS_FAILED' : 'TIMEOUT_CONNECT'], afterT: false };
    case 'answered':
      if (confirm === 'acked') return null;
      // It may come before our half-close or after it; neither is a confirmation.
      return { codes: reset ? ['FALSE_ACK', 'CONNECTION_RESET'] : ['TIMEOUT_APPLY'], afterT: true };
    case 'half-closed':
      if (confirm === 'acked') return null;
      return { codes: [reset ? 'CONNECTION_RESET' : 'TIMEOUT_APPLY'], afterT: true };
    case 'end of file':
      return null;
    default:
      if (reset) return { codes: ['CONNECTION_RESET'], afterT: small };
      if (endsWithEof && small) return { codes: ['TIMEOUT_APPLY'], afterT: true };
      return { codes: ['TIMEOUT_IDLE'], afterT: small };
  }
}

function longTimeouts(): { -readonly [name in keyof Endpoint['timeouts']]: number } {
  return { connectMs: LONG_MS, idleMs: LONG_MS, applyMs: LONG_MS };
}

/** The deadline of the step is short, the others are not. */
function timeoutsOf({ step, fault, kind, dialect }: Row, shortMs: number): Endpoint['timeouts'] {
  const limits = longTimeouts();
  if (fault === 'reset' || step === 'end of file') return limits;
  if (step === 'TCP connect' || step === 'half a TLS handshake') limits.connectMs = shortMs;
  else if (step === 'answered' || step === 'half-closed') limits.applyMs = shortMs;
  else limits.idleMs = shortMs;
  if (kind === 'blob' && dialect === 'eof') limits.applyMs = shortMs;
  return limits;
}

function ship(row: Row, endpoint: Endpoint): ReturnType<typeof send> {
  const piece = Buffer.alloc(Math.min(row.bytes, 1_000_000), 'x');
  const parts = Array<Buffer>(row.bytes / piece.length).fill(piece);
  return send({
    endpoint,
    body: row.kind === 'batch' ? { kind: 'batch' } : { kind: 'blob', path: 'a/b' },
    bytes: row.bytes,
    payload: pieces(...parts),
    mayConfirm: () => true,
    signal: new AbortController().signal,
  });
}

/**
 * On a busy machine the short deadline may be over before the connection has come to the step: then
 * nothing was tried, and it is done again with a longer one.
 */
async function judge(row: Row): Promise<void> {
  let shortMs = SHORT_MS;
  while (!(await tried(row, shortMs))) shortMs *= SHORT_GROWTH;
}

/** False: the sender gave up before the fault. */
async function tried(row: Row, shortMs: number): Promise<boolean> {
  const { dialect, kind, confirm, step, fault, bytes } = row;
  const endsWithEof = kind === 'blob' && dialect === 'eof';
  const peer = await new FaultyPeer({ step, fault, dataBytes: bytes, endsWithEof }).start();
  try {
    const endpoint = peer.endpoint({ dialect, confirm, timeouts: timeoutsOf(row, shortMs) });
    const verdict = verdictOf(row);
    const error = await ship(row, endpoint).then(
      () => null,
      (e: unknown) => e,
    );
    if (!peer.happened && row.fault !== 'reset' && shortMs < LONG_MS) return false;
    await until('it went wrong', () => peer.happened);
    // In the 2015 dialect a reset right behind the answer may be taken for the end with which such
    // a server follows it.
    const either = step === 'answered' && fault === 'reset' && dialect === 'eof';
    if (verdict === null || (either && error === null)) {
      assert.equal(error, null);
    } else {
      assert.ok(error instanceof FerryError, `${error}`);
      assert.ok(verdict.codes.includes(error.code), `${error.code}: ${error.message}`);
      assert.equal(error.kind, 'destination');
      assert.equal(error.retry, true);
      assert.equal(error.context['afterT'], verdict.afterT);
      assert.ok(error.hint);
    }
    const client = peer.faultyPort;
    const inTls = step !== 'TCP connect' && step !== 'half a TLS handshake';
    if (fault === 'stall') assert.equal(await peer.thaw(), inTls ? 'close_notify' : 'cut');
    await untilClosed(client, peer.port);

    await ship(row, peer.endpoint({ dialect, confirm, timeouts: longTimeouts() }));
    const head = kind === 'batch' ? `${bytes}\n` : endsWithEof ? 'a/b\n' : `a/b\n${bytes}\n`;
    const whole = `${head}${'x'.repeat(bytes)}${endsWithEof ? '' : 'T'}`;
    assert.equal(peer.taken.length, 1);
    assert.ok(peer.taken[0] === whole, 'something else was taken');
    return true;
  } finally {
    await peer.stop();
  }
}

describe('an accident of the peer at every step of the wire', { concurrency: 32 }, () => {
  for (const row of ROWS) {
    const large = row.bytes === LARGE_BYTES ? 'large ' : '';
    test(`${large}${row.kind}, ${row.dialect}, ${row.confirm}: ${row.fault} after: ${row.step}`, () =>
      judge(row));
  }
});
