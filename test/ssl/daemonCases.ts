/** `host port url key journal blobdir sec [min [dir ..]]`: what the daemon does while all is well. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { plainServer, replies, tlsServer } from './captureServer.js';
import { blob, type Case, journal, KEY, URL } from './cases.js';
import type { Files, Side } from './programs.js';

export interface DaemonWords {
  host?: string;
  port?: string;
  key?: string;
  journal?: string;
  blobs?: string;
  sec?: string;
  min?: string;
  dirs?: readonly string[];
  /** Default: in the foreground. */
  background?: boolean;
}

/** A daemon's words. Without more: in the foreground, for ever, looking every second. */
export function daemon(words: DaemonWords = {}): string[] {
  const { host = 'localhost', port = 'PORT', key = 'key', blobs = 'blob/', sec = '1' } = words;
  const rest = words.min === undefined && words.dirs === undefined ? [] : [words.min ?? ''];
  return [
    ...[host, port, URL, key, words.journal ?? 'journal', blobs, sec],
    ...[...rest, ...(words.dirs ?? [])],
    ...(words.background ? [] : ['+']),
  ];
}

export const SITE: Files = { key: KEY, journal: '', 'blob/': '' };
export const SITE_LEFT = ['blob/', 'journal: ', `key: ${KEY}`];

/** Starts the daemon, waits for what the case says, and ends it with SIGTERM. */
export async function serve(
  side: Side,
  words: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  side.start(words);
  await work();
  await side.stop();
}

/** One batch goes and the journal is empty: what a word of the command line does not change. */
function delivers(name: string, words: readonly string[], stdout = ''): Case {
  return {
    name,
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data' },
    play: (side) =>
      serve(side, words, async () => {
        await side.untilSent(1);
      }),
    real: { code: 0, stdout, received: [journal('data')], files: SITE_LEFT },
  };
}

const words: Case[] = [
  delivers('sec is a number of seconds, the rest may be left out', daemon()),
  delivers('sec = 0 looks all the time', daemon({ sec: '0' })),
  delivers("sec = '' counts as 0", daemon({ sec: '' })),
  delivers('a sec that is no number counts as 0', daemon({ sec: 'often' })),
  delivers('of a sec like 1x the number counts', daemon({ sec: '1x' })),
  delivers("min = '' is for ever", daemon({ min: '' })),
  delivers('min = 60 is silent', daemon({ min: '60' })),
  delivers('of a min like 5x the number counts', daemon({ min: '5x' })),
  ...['0', 'never'].map(
    (min): Case => ({
      name: `min = ${min} prints the daemon's pid`,
      server: () => tlsServer(replies()),
      files: { ...SITE, journal: 'data' },
      async play(side) {
        side.start(daemon({ min }));
        assert.equal(await side.pid('foreground'), side.process.pid);
        await side.untilSent(1);
        await side.stop();
      },
      real: { code: 0, stdout: 'PID\n', received: [journal('data')], files: SITE_LEFT },
    }),
  ),
];

const keys: Case[] = [
  {
    name: 'the key file is sent verbatim, whatever is in it',
    server: () =>
      tlsServer(async (seen) => {
        await seen.until((bytes) => bytes.includes('4\ndataT'));
        seen.socket.write('T');
        await seen.ended;
        seen.socket.end();
      }),
    files: { ...SITE, key: 'two\nlines \xff\n', journal: 'data' },
    play: (side) => serve(side, daemon(), () => side.untilSent(1)),
    real: {
      code: 0,
      received: [journal('data', Buffer.from('two\nlines \xff\n').toString('latin1'))],
    },
  },
  {
    name: 'the key file is read again for every connection',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'one' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilSent(1);
        side.write('key', 'another\n');
        side.write('journal', 'two');
        await side.untilSent(2);
      }),
    real: { code: 0, received: [journal('one'), journal('two', 'another\n')] },
  },
  {
    name: 'a key of -text is the text itself',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', 'blob/=1': '-> a', 'blob/a': 'image' },
    play: (side) =>
      serve(side, daemon({ key: '-the text\n' }), async () => {
        await side.untilGone('blob/=1');
        await side.untilSent(2);
      }),
    real: {
      code: 0,
      received: [journal('data', 'the text\n'), blob('a', 'image', 'the text\n')],
    },
  },
  {
    name: "key = '': archive and truncate, send nothing, leave blobs alone",
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', 'blob/=1': '-> a', 'blob/a': 'image', 'copies/': '' },
    play: (side) =>
      serve(side, daemon({ key: '', dirs: ['copies/'] }), async () => {
        await side.untilEmpty();
        side.write('journal', 'more');
        await side.untilEmpty();
        await side.untilThere('copies/2');
      }),
    real: {
      code: 0,
      received: [],
      files: [
        ...['blob/', 'blob/=1 -> a', 'blob/a: image'],
        ...['copies/', 'copies/1: data', 'copies/2: more', 'journal: ', `key: ${KEY}`],
      ],
    },
  },
  {
    name: "key = '' without an archive: the journal is emptied",
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data' },
    play: (side) => serve(side, daemon({ key: '' }), () => side.untilEmpty()),
    real: { code: 0, received: [], files: SITE_LEFT },
  },
];

const journals: Case[] = [
  {
    name: 'several batches go in order, each as it stood in the journal',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'first' },
    play: (side) =>
      serve(side, daemon(), async () => {
        for (const [index, data] of ['second ', 'third\n4\n', '\x00\xff'].entries()) {
          await side.untilSent(index + 1);
          writeFileSync(side.path('journal'), data, { encoding: 'latin1', flag: 'a' });
        }
        await side.untilSent(4);
      }),
    real: {
      code: 0,
      received: ['first', 'second ', 'third\n4\n', '\x00\xff'].map((d) => journal(d)),
    },
  },
  {
    name: 'what is appended while a batch is on its way is the next batch',
    server: () =>
      tlsServer(async (seen, index, proceed) => {
        if (index === 0) {
          await seen.until((bytes) => bytes.includes('5\nfirstT'));
          await proceed;
          seen.socket.write('T');
          await seen.ended;
          seen.socket.end();
        } else await replies()(seen, index, proceed);
      }),
    files: { ...SITE, journal: 'first' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.until('the first came', () => {
          return side.server?.received()[0]?.includes('5\nfirstT') ?? false;
        });
        writeFileSync(side.path('journal'), 'and the second', { flag: 'a' });
        side.server?.proceed();
        await side.untilSent(2);
      }),
    real: { code: 0, received: [journal('first'), journal('and the second')], files: SITE_LEFT },
  },
  {
    name: 'a journal of several megabytes is one batch',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'some bytes of it'.repeat(200_000) },
    play: (side) => serve(side, daemon(), () => side.untilSent(1)),
    real: { code: 0, received: [journal('some bytes of it'.repeat(200_000))], files: SITE_LEFT },
  },
  {
    name: 'a journal that appears later is taken up',
    server: () => tlsServer(replies()),
    files: { key: KEY, 'blob/=1': '-> a', 'blob/a': 'image' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilGone('blob/=1');
        side.write('journal', 'data');
        await side.untilSent(2);
      }),
    real: { code: 0, received: [blob('a', 'image'), journal('data')] },
  },
  {
    name: 'an empty journal is left alone',
    server: () => tlsServer(replies()),
    files: { ...SITE, 'blob/=1': '-> a', 'blob/a': 'image' },
    play: (side) => serve(side, daemon(), () => side.untilGone('blob/=1')),
    real: { code: 0, received: [blob('a', 'image')] },
  },
  {
    name: 'a host file is read again for every connection',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', address: '127.0.0.9\n' },
    play: (side) =>
      serve(side, daemon({ host: './address', port: '-PORT' }), async () => {
        await side.until('it tries', () => side.isOurs === false || side.process.stderr !== '');
        side.write('address', '127.0.0.1\n');
        await side.untilSent(1);
      }),
    real: { code: 0, received: [journal('data').replace('localhost', './address')] },
  },
  {
    name: 'with a - before the port the certificate is not checked',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data' },
    play: async (side) => {
      side.start(daemon({ port: '-PORT' }), { SSL_CERT_FILE: undefined });
      await side.untilSent(1);
      await side.stop();
    },
    real: { code: 0, received: [journal('data')] },
  },
];

const halves: Case[] = [
  {
    name: "journal = '': only blobs",
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', 'blob/=1': '-> a', 'blob/a': 'image' },
    play: (side) => serve(side, daemon({ journal: '' }), () => side.untilGone('blob/=1')),
    real: {
      code: 0,
      received: [blob('a', 'image')],
      files: ['blob/', 'blob/a: image', 'journal: data', `key: ${KEY}`],
    },
  },
  {
    name: "blobdir = '': only the journal",
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', '=1': '-> key', 'blob/=1': '-> a', 'blob/a': 'image' },
    play: (side) =>
      serve(side, daemon({ blobs: '' }), async () => {
        await side.untilEmpty();
        side.write('journal', 'more');
        await side.untilSent(2);
      }),
    real: {
      code: 0,
      received: [journal('data'), journal('more')],
      files: ['=1 -> key', 'blob/', 'blob/=1 -> a', 'blob/a: image', 'journal: ', `key: ${KEY}`],
    },
  },
  {
    name: 'a blob directory that is missing holds up nothing',
    server: () => tlsServer(replies()),
    files: { key: KEY, journal: 'data' },
    play: (side) => serve(side, daemon(), () => side.untilSent(1)),
    real: { code: 0, received: [journal('data')] },
  },
  ...(['SIGTERM', 'SIGINT'] as const).flatMap((signal): Case[] => [
    {
      name: `both halves off: it waits until ${signal} and exits 0`,
      server: () => plainServer(() => undefined),
      async play(side) {
        side.start(daemon({ journal: '', blobs: '', min: '0' }));
        await side.pid('foreground');
        await side.asleep();
        await side.stop(signal);
      },
      real: { code: 0, stdout: 'PID\n', received: [] },
    },
    {
      name: `${signal} ends it with exit code 0 while the destination is away, and nothing is lost`,
      server: () => plainServer((socket) => socket.destroy()),
      files: { ...SITE, journal: 'data', 'blob/=1': '-> a', 'blob/a': 'image' },
      async play(side) {
        side.start(daemon());
        await side.until('it tried', () => (side.server?.accepted ?? 0) > 0);
        await side.stop(signal);
      },
      real: {
        code: 0,
        files: ['blob/', 'blob/=1 -> a', 'blob/a: image', 'journal: data', `key: ${KEY}`],
      },
      // Ours has the batch in its spool: `troubleCases` restart it and see it arrive.
      differs: {
        files: ['blob/', 'blob/=1 -> a', 'blob/a: image', 'journal: ', `key: ${KEY}`],
      },
    },
  ]),
];

const background: Case[] = [
  {
    name: 'without a + the parent ends at once with 0, the daemon serves, SIGTERM ends it',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', 'blob/=1': '-> a', 'blob/a': 'image', 'copies/': '' },
    async play(side) {
      side.start(daemon({ min: '0', dirs: ['copies/'], background: true }));
      const pid = await side.pid('background');
      await side.end();
      assert.notEqual(pid, side.process.pid);
      await side.untilGone('blob/=1');
      await side.untilEmpty();
      side.write('journal', 'more');
      await side.untilSent(3);
      await side.untilThere('copies/2');
      await side.stopDaemon();
    },
    real: {
      code: 0,
      stdout: 'PID\n',
      received: [journal('data'), blob('a', 'image'), journal('more')],
      files: [
        ...['blob/', 'blob/a: image', 'copies/', 'copies/1: data', 'copies/2: more'],
        // Re-created there; it stays.
        'copies/=1 -> ../blob/a',
        ...['journal: ', `key: ${KEY}`],
      ],
    },
  },
];

export const daemonCases: readonly Case[] = [
  ...words,
  ...keys,
  ...journals,
  ...halves,
  ...background,
];
