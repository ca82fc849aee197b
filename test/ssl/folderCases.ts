/** Blob directories, archive directories, and the links in both. */
import { symlinkSync } from 'node:fs';
import { replies, tlsServer } from './captureServer.js';
import { blob, type Case, journal, KEY } from './cases.js';
import { daemon, SITE, serve } from './daemonCases.js';
import type { Files, Outcome } from './programs.js';

const blobs: Case[] = [
  {
    name: 'the journal goes first, then the blobs; their links are removed, their files stay',
    server: () => tlsServer(replies()),
    files: { ...SITE, journal: 'data', 'blob/=7.pic': '-> 1/2/7.pic', 'blob/1/2/7.pic': 'image' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilGone('blob/=7.pic');
        await side.untilSent(2);
      }),
    real: {
      code: 0,
      received: [journal('data'), blob('1/2/7.pic', 'image')],
      files: ['blob/', 'blob/1/', 'blob/1/2/', 'blob/1/2/7.pic: image', 'journal: ', `key: ${KEY}`],
    },
  },
  {
    name: 'an empty blob, and one of several megabytes',
    server: () => tlsServer(replies()),
    files: {
      ...SITE,
      'blob/=e': '-> e',
      'blob/e': '',
      'blob/=l': '-> l',
      'blob/l': 'image '.repeat(500_000),
    },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilGone('blob/=e');
        await side.untilGone('blob/=l');
      }),
    anyOrder: true,
    real: { code: 0, received: [blob('e', ''), blob('l', 'image '.repeat(500_000))] },
  },
  {
    name: 'links without a = and plain files are ignored, also those with a =',
    server: () => tlsServer(replies()),
    files: {
      ...SITE,
      'blob/1': '-> a',
      'blob/=2': '-> a',
      'blob/=3': 'a plain file',
      'blob/=4/': '',
      'blob/5=': '-> a',
      'blob/a': 'image',
    },
    play: (side) => serve(side, daemon(), () => side.untilGone('blob/=2')),
    real: {
      code: 0,
      received: [blob('a', 'image')],
      files: [
        ...['blob/', 'blob/1 -> a', 'blob/5= -> a', 'blob/=3: a plain file', 'blob/=4/'],
        ...['blob/a: image', 'journal: ', `key: ${KEY}`],
      ],
    },
  },
  {
    name: 'a dangling link is removed and not sent',
    server: () => tlsServer(replies()),
    files: { ...SITE, 'blob/=1': '-> none' },
    play: (side) => serve(side, daemon(), () => side.untilGone('blob/=1')),
    real: { code: 0, received: [], files: ['blob/', 'journal: ', `key: ${KEY}`] },
  },
  {
    name: 'a blob that is announced again is sent again',
    server: () => tlsServer(replies()),
    files: { ...SITE, 'blob/=1': '-> a', 'blob/a': 'first' },
    play: (side) =>
      serve(side, daemon(), async () => {
        await side.untilGone('blob/=1');
        await side.untilReceived(1);
        side.write('blob/a', 'second, longer');
        symlinkSync('a', side.path('blob/=1'));
        await side.untilGone('blob/=1');
      }),
    real: { code: 0, received: [blob('a', 'first'), blob('a', 'second, longer')] },
  },
  {
    name: 'an absolute blob directory',
    server: () => tlsServer(replies()),
    files: { ...SITE, 'blob/=1': '-> a', 'blob/a': 'image' },
    play: (side) => serve(side, daemon({ blobs: 'DIR/blob/' }), () => side.untilGone('blob/=1')),
    real: { code: 0, received: [blob('a', 'image')] },
  },
  {
    name: 'a refused blob stays and is sent again; the others do not wait for it',
    server: () =>
      tlsServer(
        replies((request, index) => (request.includes('\nbad\n') && index < 3 ? 'N' : 'T')),
      ),
    files: {
      ...SITE,
      'blob/=1': '-> bad',
      'blob/=2': '-> good',
      'blob/bad': 'b',
      'blob/good': 'g',
    },
    async play(side) {
      await serve(side, daemon(), async () => {
        await side.untilGone('blob/=2');
        await side.untilGone('blob/=1');
      });
      const received = side.server?.received() ?? [];
      side.write('repeated', String(received.length > 2));
    },
    distinct: true,
    anyOrder: true,
    real: {
      code: 0,
      received: [blob('bad', 'b'), blob('good', 'g')],
      files: ['blob/', 'blob/bad: b', 'blob/good: g', 'journal: ', `key: ${KEY}`, 'repeated: true'],
    },
  },
];

/** Two batches go, and lie in the archive as `left` says. */
function archives(
  name: string,
  dirs: readonly string[],
  before: Files,
  left: readonly string[],
  more: { differs?: Partial<Outcome>; says?: RegExp } = {},
): Case {
  return {
    name,
    server: () => tlsServer(replies()),
    files: { key: KEY, journal: 'data', ...before },
    play: (side) =>
      serve(side, daemon({ blobs: '', dirs }), async () => {
        await side.untilSent(1);
        side.write('journal', 'more');
        await side.untilSent(2);
        // Ours keeps and sends side by side.
        for (const line of left) await side.untilThere(line.split(':')[0] ?? '');
      }),
    real: {
      code: 0,
      received: [journal('data'), journal('more')],
      files: [...left, 'journal: ', `key: ${KEY}`].sort(),
    },
    ...more,
  };
}

const archive: Case[] = [
  archives('an archive directory gets every batch under the next number', ['a/'], { 'a/': '' }, [
    ...['a/', 'a/1: data', 'a/2: more'],
  ]),
  archives(
    'a second archive directory gets hard links of the same files',
    ['a/', 'b/'],
    { 'a/': '', 'b/': '' },
    ['a/', 'a/1: data', 'a/2: more', 'b/', 'b/1: = a/1', 'b/2: = a/2'],
  ),
  archives(
    'numbers go on behind the highest that is there, in each directory by itself',
    ['a/', 'b/', 'c/'],
    { 'a/9': 'x', 'a/10': 'y', 'b/3': 'z', 'c/': '' },
    [
      ...['a/', 'a/10: y', 'a/11: data', 'a/12: more', 'a/9: x'],
      ...['b/', 'b/3: z', 'b/4: = a/11', 'b/5: = a/12', 'c/', 'c/1: = a/11', 'c/2: = a/12'],
    ],
  ),
  archives(
    'names that are no numbers do not count; leading zeros and directories do',
    ['a/', 'b/'],
    { 'a/99x': '', 'a/x99': '', 'a/1.5': '', 'a/0007': '', 'b/8/': '' },
    [
      ...['a/', 'a/0007: ', 'a/1.5: ', 'a/8: data', 'a/9: more', 'a/99x: ', 'a/x99: '],
      ...['b/', 'b/10: = a/9', 'b/8/', 'b/9: = a/8'],
    ],
  ),
  archives('an absolute archive directory', ['DIR/deep/er/'], { 'deep/er/': '' }, [
    'deep/',
    'deep/er/',
    'deep/er/1: data',
    'deep/er/2: more',
  ]),
  {
    name: 'an archive directory that is missing: ours says so and waits (bin/ssl goes on without it)',
    server: () => tlsServer(replies()),
    files: { key: KEY, journal: 'data', 'b/': '' },
    async play(side) {
      side.start(daemon({ blobs: '', dirs: ['b/', 'a/'] }));
      if (side.isOurs) {
        await side.process.line(/no directory .*a\b/, undefined, 'stderr');
        side.write('waits', 'true');
        side.write('a/', '');
        await side.untilThere('a/1');
      }
      await side.untilThere('b/1');
      await side.untilSent(1);
      await side.stop();
    },
    real: {
      code: 0,
      received: [journal('data')],
      files: ['b/', 'b/1: data', 'journal: ', `key: ${KEY}`],
    },
    differs: {
      // One file: `listing` calls the first of its names the file.
      files: ['a/', 'a/1: data', 'b/', 'b/1: = a/1', 'journal: ', `key: ${KEY}`, 'waits: true'],
    },
  },
];

const always = ['blob/', 'blob/1/', 'blob/1/a: image', `key: ${KEY}`];

/** A blob is sent, and its link is left in the archive as `left` says. */
function links(
  name: string,
  words: { blobs?: string; dirs: readonly string[] },
  left: readonly string[],
  before: Files = {},
  differs?: readonly string[],
): Case {
  return {
    name,
    server: () => tlsServer(replies()),
    files: { key: KEY, 'blob/=1.pic': '-> 1/a', 'blob/1/a': 'image', ...before },
    play: (side) =>
      serve(side, daemon({ journal: '', ...words }), async () => {
        await side.untilGone('blob/=1.pic');
        for (const dir of words.dirs) await side.untilThere(`${dir.replace('DIR/', '')}=1.pic`);
      }),
    real: {
      code: 0,
      received: [blob('1/a', 'image')],
      files: [...always, ...left],
    },
    ...(differs === undefined ? {} : { differs: { files: [...always, ...differs] } }),
  };
}

const archivedLinks: Case[] = [
  links(
    'a blob link is made again in every archive directory, relative to it',
    { dirs: ['a/', 'deep/er/'] },
    ['a/', 'a/=1.pic -> ../blob/1/a', 'deep/', 'deep/er/', 'deep/er/=1.pic -> ../../blob/1/a'],
    { 'a/': '', 'deep/er/': '' },
  ),
  links(
    'with absolute directories the link leads to the blob too (bin/ssl climbs to the root first)',
    { blobs: 'DIR/blob/', dirs: ['DIR/a/'] },
    ['a/', 'a/=1.pic -> ../../../../DIR/blob/1/a'],
    { 'a/': '' },
    ['a/', 'a/=1.pic -> ../blob/1/a'],
  ),
  links(
    'with an absolute and a relative directory the link leads to the blob (that of bin/ssl nowhere)',
    { blobs: 'DIR/blob/', dirs: ['a/'] },
    ['a/', 'a/=1.pic -> ../DIR/blob/1/a'],
    { 'a/': '' },
    ['a/', 'a/=1.pic -> ../blob/1/a'],
  ),
  links(
    'a link that is in the archive already stays as it is',
    { dirs: ['a/'] },
    ['a/', 'a/=1.pic -> elsewhere'],
    { 'a/=1.pic': '-> elsewhere' },
  ),
  links(
    'so does a plain file of that name',
    { dirs: ['a/'] },
    ['a/', 'a/=1.pic: a file of somebody'],
    { 'a/=1.pic': 'a file of somebody' },
  ),
];

export const folderCases: readonly Case[] = [...blobs, ...archive, ...archivedLinks];
