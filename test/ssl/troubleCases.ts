/** Destinations that are away or answer wrongly; and the defects of the real program. */
import { closeSync, mkdirSync, openSync, readFileSync, symlinkSync, truncateSync } from 'node:fs';
import type { Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { tryLock } from 'fs-native-extensions';
import { makeCerts, testCerts } from '../support/certs.js';
import { countingServer, lateServer, replies, tlsServer } from './captureServer.js';
import { blob, type Case, head, journal, KEY, URL } from './cases.js';
import { daemon, SITE, SITE_LEFT, serve } from './daemonCases.js';
import type { Side } from './programs.js';

/** The first answer is wrong in some way, then all is well. */
function retried(name: string, first: string, says: RegExp): Case {
  return {
    name,
    server: () => tlsServer(replies((_request, index) => (index === 0 ? first : 'T'))),
    files: { ...SITE, journal: 'data' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilSent(2);
      }),
    real: { code: 0, received: [journal('data'), journal('data')], files: SITE_LEFT },
    says,
  };
}

const retries: Case[] = [
  retried('a wrong answer: the batch goes again after sec', 'N', /PROTOCOL_ERROR|answer/),
  retried(
    'an HTTP answer: the batch goes again, and ours names the status',
    'HTTP/1.0 404 Not Found\r\n\r\n',
    /404/,
  ),
  retried('closed without an answer: the batch goes again, and ours thinks of the key', '', /key/),
  {
    name: 'a batch that is tried again and again lies in the archive once',
    server: () => tlsServer(replies((_request, index) => (index < 2 ? 'N' : 'T'))),
    files: { key: KEY, journal: 'data', 'a/': '', 'b/': '' },
    play: (side) =>
      serve(side, daemon({ blobs: '', dirs: ['a/', 'b/'] }), async () => {
        await side.untilSent(3);
        await side.untilThere('b/1');
      }),
    real: {
      code: 0,
      received: [journal('data'), journal('data'), journal('data')],
      files: ['a/', 'a/1: data', 'b/', 'b/1: = a/1', 'journal: ', `key: ${KEY}`],
    },
  },
  {
    name: 'nobody listens at first: the batch waits, and goes when somebody does',
    server: () => lateServer(replies()),
    files: { ...SITE, journal: 'data', 'a/': '' },
    play: (side) =>
      serve(side, daemon({ dirs: ['a/'] }), async () => {
        // Behind the archive comes the first attempt.
        await side.untilThere('a/1');
        if (side.isOurs) await side.process.line(/CONNECTION_REFUSED|refused/, undefined, 'stderr');
        side.server?.proceed();
        await side.untilSent(1);
      }),
    real: { code: 0, received: [journal('data')] },
  },
  {
    name: 'the key is corrected while it runs: the batch goes with the right one',
    server: () => tlsServer(replies((request) => (request.includes('\nright\n') ? 'T' : ''))),
    files: { ...SITE, key: 'wrong\n', journal: 'data' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilReceived(1);
        side.write('key', 'right\n');
        await side.untilEmpty();
        await side.until('it came', () => last(side).includes('right'));
      }),
    distinct: true,
    real: { code: 0, received: [journal('data', 'wrong\n'), journal('data', 'right\n')] },
    says: /key/,
  },
  {
    name: 'ended while a batch waits for its answer, started again: the batch goes then',
    server: () => tlsServer(answersFrom(1)),
    files: { ...SITE, journal: 'data' },
    async play(side) {
      side.start(daemon());
      await side.until('the batch came', () => last(side).endsWith('dataT'));
      await side.stop();
      side.start(daemon());
      await side.untilSent(2);
      await side.stop();
    },
    real: { code: 0, received: [journal('data'), journal('data')], files: SITE_LEFT },
  },
  {
    name: 'an untrusted certificate: nothing is sent, and ours says why',
    server: () => tlsServer(() => undefined),
    files: { ...SITE, journal: 'data' },
    async play(side) {
      side.start(daemon(), { SSL_CERT_FILE: undefined });
      await side.process.line(/certificate/i, undefined, 'stderr');
      await side.stop();
      side.write('journal', '');
    },
    real: { code: 0, received: [] },
    says: /CERTIFICATE_INVALID|certificate/,
  },
];

const untrusted = makeCerts({ names: 'DNS:localhost', days: 30 });

const defects: Case[] = [
  {
    name: 'one failed handshake does not end the service (it wedges bin/ssl for ever)',
    server: () => countingServer(failsOnce, replies()),
    files: { ...SITE, journal: 'data' },
    async play(side) {
      side.start(daemon());
      if (side.isOurs) await side.untilEmpty();
      await side.until(
        'it tried again',
        () => (side.server?.accepted ?? 0) > (side.isOurs ? 1 : 3),
      );
      if (side.isOurs) await side.untilReceived(1);
      await side.stop();
    },
    real: { code: 0, received: [], files: ['blob/', 'journal: data', `key: ${KEY}`] },
    differs: { received: [journal('data')], files: SITE_LEFT },
    says: /TLS/,
  },
  {
    name: 'a certificate that was wrong and is renewed: it goes on (it wedges bin/ssl for ever)',
    server: async () => {
      let handshakes = 0;
      return countingServer(() => false, replies(), {
        SNICallback: (_name, done) => {
          handshakes += 1;
          const { cert, key } = handshakes === 1 ? untrusted : testCerts();
          done(null, createSecureContext({ cert, key }));
        },
      });
    },
    files: { ...SITE, journal: 'data', 'a/': '' },
    async play(side) {
      side.start(daemon({ dirs: ['a/'] }));
      if (side.isOurs) {
        await side.untilEmpty();
        await side.untilReceived(1);
      } else {
        await side.until('it tried again', () => (side.server?.accepted ?? 0) > 3);
      }
      await side.stop();
    },
    real: {
      code: 0,
      received: [],
      files: ['a/', 'a/1: data', 'blob/', 'journal: data', `key: ${KEY}`],
    },
    differs: {
      received: [journal('data')],
      files: ['a/', 'a/1: data', 'blob/', 'journal: ', `key: ${KEY}`],
    },
    says: /certificate/,
  },
  {
    name: 'a journal that somebody else empties is just empty (bin/ssl exits with "Size error")',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data' },
    async play(side) {
      const lock = openSync(side.path('journal'), 'r+');
      try {
        tryLock(lock);
        side.start(daemon({ min: '0' }));
        const pid = await side.pid('foreground');
        if (!side.isOurs) await side.until('it waits for the lock', () => waitsForLock(pid));
        truncateSync(side.path('journal'));
      } finally {
        closeSync(lock);
      }
      if (side.isOurs) {
        side.write('journal', 'more');
        await side.untilEmpty();
        await side.untilReceived(1);
        await side.stop();
      } else await side.end();
    },
    real: { code: 1, received: [], files: SITE_LEFT },
    realSays: /Size error/,
    differs: { code: 0, received: [journal('more')] },
  },
  {
    name: 'a missing key file: ours says so (bin/ssl connects again and again in silence)',
    server: () => tlsServer(replies()),
    files: { journal: 'data', 'blob/': '' },
    play: (side) =>
      serve(side, daemon(), async () => {
        if (side.isOurs) await side.process.line(/key/, undefined, 'stderr');
        else await side.untilReceived(1);
        side.write('key', KEY);
        await side.until('it came', () => last(side).endsWith('dataT'));
        await side.untilEmpty();
      }),
    distinct: true,
    real: { code: 0, received: [head(URL), journal('data')], files: SITE_LEFT },
    differs: { received: [journal('data')] },
    says: /KEY_FILE_MISSING|key file/,
  },
  {
    name: 'a blob path with .. is not sent, and ours says so (bin/ssl sends it)',
    server: () => tlsServer(replies()),
    files: {
      ...SITE,
      'blob/=1': '-> ../outside',
      outside: 'text',
      'blob/=2': '-> a',
      'blob/a': 'b',
    },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilGone('blob/=2');
        if (!side.isOurs) await side.untilGone('blob/=1');
      }),
    anyOrder: true,
    real: {
      code: 0,
      received: [blob('../outside', 'text'), blob('a', 'b')],
      files: [...SITE_LEFT, 'blob/a: b', 'outside: text'],
    },
    differs: {
      received: [blob('a', 'b')],
      files: [...SITE_LEFT, 'blob/a: b', 'blob/=1 -> ../outside', 'outside: text'],
    },
    says: /leaves the blob directory|BLOB_PATH_INVALID/,
  },
  {
    name: 'a journal that is a directory: ours says so (bin/ssl is silent)',
    server: () => tlsServer(replies()),
    files: { ...SITE, 'blob/=1': '-> a', 'blob/a': 'image' },
    async play(side) {
      mkdirSync(side.path('folder'));
      side.start(daemon({ journal: 'folder' }));
      await side.untilGone('blob/=1');
      if (side.isOurs) await side.process.line(/folder/, undefined, 'stderr');
      await side.stop();
    },
    real: { code: 0, received: [blob('a', 'image')] },
    says: /JOURNAL_NOT_A_FILE|folder/,
  },
  {
    name: 'a blob link to a directory: ours says so, others go (bin/ssl sends half a request for ever)',
    server: () => tlsServer(replies()),
    files: { ...SITE, 'blob/=1': '-> folder', 'blob/folder/': '', 'blob/a': 'image' },
    play: (side) =>
      serve(side, daemon(), async () => {
        if (side.isOurs) await side.process.line(/folder|=1/, undefined, 'stderr');
        else await side.untilReceived(2);
        symlinkSync('a', side.path('blob/=2'));
        await side.untilGone('blob/=2');
        await side.until('it came', () =>
          (side.server?.received() ?? []).some((b) => b.includes('image')),
        );
      }),
    distinct: true,
    anyOrder: true,
    real: { code: 0 },
    differs: { received: [blob('a', 'image')] },
    says: /folder|=1/,
  },
];

/** The latest connection. */
function last(side: Side): string {
  return side.server?.received().at(-1)?.toString('latin1') ?? '';
}

function failsOnce(socket: Socket, index: number): boolean {
  if (index === 0) socket.end('no TLS here\n');
  return index === 0;
}

/** A replica that does not answer before the connection of this number. */
function answersFrom(first: number): Parameters<typeof tlsServer>[0] {
  return async (seen, index, proceed) => {
    if (index >= first) await replies()(seen, index, proceed);
    else {
      await seen.ended;
      seen.socket.end();
    }
  };
}

function waitsForLock(pid: number): boolean {
  const line = new RegExp(`-> POSIX .* ${pid} `);
  return readFileSync('/proc/locks', 'latin1')
    .split('\n')
    .some((text) => line.test(text));
}

export const troubleCases: readonly Case[] = [...retries, ...defects];
