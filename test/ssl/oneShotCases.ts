/** `host port` and `host port url [key [file]]`: one connection, then the end. */
import { answers, type CaptureServer, type Script, tlsServer } from './captureServer.js';
import { type Case, filledLength, head, OK_ANSWER } from './cases.js';
import type { Files, Outcome, Side } from './programs.js';

const USAGE = /host port \[url.* \| host port url key .* sec \[min.*\[?dir \.\.\]/;
const LARGE = Buffer.alloc(5_000_000, 'a large answer, ').toString('latin1');

/** The common shape: words, one request, an answer, the end. */
interface OneShot {
  name: string;
  words: readonly string[];
  files?: Files;
  stdin?: string;
  env?: Record<string, string | undefined>;
  /** What arrives. PORT and DIR are filled in. */
  request?: string;
  answer?: string;
  server?: () => Promise<CaptureServer>;
  code?: number;
  differs?: Partial<Outcome>;
  says?: RegExp;
}

function oneShot(shot: OneShot): Case {
  const { name, words, request = '', answer = OK_ANSWER, code = 0 } = shot;
  return {
    name,
    ...(shot.files === undefined ? {} : { files: shot.files }),
    ...(shot.differs === undefined ? {} : { differs: shot.differs }),
    ...(shot.says === undefined ? {} : { says: shot.says }),
    server: shot.server ?? (() => tlsServer(answers(filledLength(request), answer))),
    play: (side) =>
      side.run(words, { stdin: shot.stdin ?? '', ...(shot.env ? { env: shot.env } : {}) }),
    real: {
      code,
      stdout: code === 0 ? answer : '',
      ...(shot.server === undefined ? { received: [request] } : {}),
    },
  };
}

/** Fails before a connection is made. */
function refused(name: string, words: readonly string[], says: RegExp): Case {
  return {
    name,
    server: () => tlsServer(() => undefined),
    play: (side) => side.run(words),
    real: { code: 1, stdout: '', received: [] },
    realSays: says,
    says,
  };
}

const usages: Case[] = [
  ['no word', []],
  ['one word', ['localhost']],
  ['six words', ['localhost', 'PORT', 'a', 'b', 'c', 'd']],
  ['no word but a +', ['+']],
  ['one word and a +', ['localhost', '+']],
  ['six words and a +', ['localhost', 'PORT', 'a', 'b', 'c', 'd', '+']],
].map(([what, words]) => refused(`${what}: the usage and exit code 1`, words as string[], USAGE));

/** The longest url that fits between `localhost` and a port of five digits. */
const URL_LENGTH_MAX = 1023 - (head('').replace('PORT', '').length + '%s%s%s'.length) - 5;

const transfers: Case[] = [
  oneShot({
    name: 'host port url: a GET, and the raw answer with its headers',
    words: ['localhost', 'PORT', 'some/page?x=1'],
    request: head('some/page?x=1'),
  }),
  oneShot({
    name: 'exit code 0 whatever the status: 404',
    words: ['localhost', 'PORT', 'none'],
    request: head('none'),
    answer: 'HTTP/1.0 404 Not Found\r\n\r\n<H1>404</H1>',
  }),
  oneShot({
    name: 'an answer that is no HTTP is printed byte for byte',
    words: ['localhost', 'PORT', 'x'],
    request: head('x'),
    answer: '\x00\xff\xfe\r\n\x80 garbage \xc3',
  }),
  oneShot({
    name: 'an empty answer prints nothing and is no error',
    words: ['localhost', 'PORT', 'x'],
    request: head('x'),
    answer: '',
  }),
  oneShot({
    name: 'a large answer arrives whole',
    words: ['localhost', 'PORT', 'x'],
    request: head('x'),
    answer: LARGE,
  }),
  oneShot({
    name: 'an empty url asks for the root',
    words: ['localhost', 'PORT', ''],
    request: head(''),
  }),
  oneShot({
    name: 'a url is sent as it is, blanks included',
    words: ['localhost', 'PORT', 'a b%20c'],
    request: head('a b%20c'),
  }),
  oneShot({
    name: 'a url is sent as it is, UTF-8 included',
    words: ['localhost', 'PORT', 'größe'],
    request: head(Buffer.from('größe').toString('latin1')),
  }),
  oneShot({
    name: 'F1 and F2 are sent verbatim behind the header',
    words: ['localhost', 'PORT', 'u', 'key', 'data'],
    files: { key: 'secret\n', data: 'content without an end of line' },
    request: `${head('u')}secret\ncontent without an end of line`,
  }),
  oneShot({
    name: 'F1 alone',
    words: ['localhost', 'PORT', 'u', 'key'],
    files: { key: 'secret\n' },
    request: `${head('u')}secret\n`,
  }),
  oneShot({
    name: 'binary files and large ones are sent byte for byte',
    words: ['localhost', 'PORT', 'u', 'small', 'large'],
    files: { small: Buffer.from([0, 255, 13, 10, 26]), large: LARGE.slice(0, 1_234_567) },
    request: `${head('u')}\x00\xff\r\n\x1a${LARGE.slice(0, 1_234_567)}`,
  }),
  oneShot({
    name: 'F = -text is sent itself, without an end of line',
    words: ['localhost', 'PORT', 'u', '-first', '-second line\n'],
    request: `${head('u')}firstsecond line\n`,
  }),
  oneShot({
    name: 'F = --text loses only its first dash',
    words: ['localhost', 'PORT', 'u', '--text'],
    request: `${head('u')}-text`,
  }),
  oneShot({
    name: 'F1 = - is standard input to its end',
    words: ['localhost', 'PORT', 'u', '-'],
    stdin: 'from\nstandard input',
    request: `${head('u')}from\nstandard input`,
  }),
  oneShot({
    name: 'F2 = - is standard input behind the file',
    words: ['localhost', 'PORT', 'u', 'key', '-'],
    files: { key: 'secret\n' },
    stdin: LARGE.slice(0, 300_000),
    request: `${head('u')}secret\n${LARGE.slice(0, 300_000)}`,
  }),
  oneShot({
    name: "F1 = '' sends only F2",
    words: ['localhost', 'PORT', 'u', '', 'data'],
    files: { data: 'content' },
    request: `${head('u')}content`,
  }),
  oneShot({
    name: "F1 = '' and F2 = '' send the header alone",
    words: ['localhost', 'PORT', 'u', '', ''],
    request: head('u'),
  }),
  oneShot({
    name: 'an empty file is no error',
    words: ['localhost', 'PORT', 'u', 'empty', 'data'],
    files: { empty: '', data: 'content' },
    request: `${head('u')}content`,
  }),
  oneShot({
    name: 'a trailing + changes nothing but messages: with a url',
    words: ['localhost', 'PORT', 'u', '+'],
    request: head('u'),
  }),
  oneShot({
    name: 'a trailing + changes nothing but messages: with files',
    words: ['localhost', 'PORT', 'u', 'key', '-text', '+'],
    files: { key: 'secret\n' },
    request: `${head('u')}secret\ntext`,
  }),
  oneShot({
    name: 'a + that is not the last word is a file of this name',
    words: ['localhost', 'PORT', 'u', '+', '-x'],
    files: { '+': 'in plus ' },
    request: `${head('u')}in plus x`,
  }),
  oneShot({
    name: 'a url of the greatest length is sent',
    words: ['localhost', 'PORT', 'u'.repeat(URL_LENGTH_MAX)],
    request: head('u'.repeat(URL_LENGTH_MAX)),
  }),
  refused(
    'a url of one character more is too long',
    ['localhost', 'PORT', 'u'.repeat(URL_LENGTH_MAX + 1)],
    /Names too long/,
  ),
  refused(
    'names are measured in bytes, not in characters',
    ['localhost', 'PORT', `ü${'u'.repeat(URL_LENGTH_MAX - 1)}`],
    /Names too long/,
  ),
];

/** What is printed on the way to a failure is not a matter of these cases. */
function cannotSend(name: string, words: readonly string[], sent: string, files: Files = {}): Case {
  return {
    name,
    files,
    // In TLS 1.3 it would leave unread tickets behind: its end would be a reset, which drops bytes.
    server: () => tlsServer(() => undefined, { maxVersion: 'TLSv1.2' }),
    async play(side) {
      await side.run(words, { stdin: 'standard input' });
      await side.untilReceived(1);
    },
    real: { code: 1, stdout: '', received: [sent] },
    realSays: /^ssl: Can't send$/m,
    says: /Can't send/,
  };
}

const unsendable: Case[] = [
  cannotSend('a missing F1: exit code 1', ['localhost', 'PORT', 'u', 'none'], head('u')),
  cannotSend(
    'a missing F2: exit code 1, F1 was sent',
    ['localhost', 'PORT', 'u', '-key ', 'none'],
    `${head('u')}key `,
  ),
  cannotSend('a directory as F1: exit code 1', ['localhost', 'PORT', 'u', 'dir'], head('u'), {
    'dir/': '',
  }),
  cannotSend(
    'standard input twice: the second time it is closed, exit code 1',
    ['localhost', 'PORT', 'u', '-', '-'],
    `${head('u')}standard input`,
  ),
];

const talks: Case[] = [
  {
    name: 'host port: standard input goes out, what comes is printed, no header is sent',
    server: () => tlsServer(answers('a line\nand more'.length, 'the answer')),
    play: (side) => side.run(['localhost', 'PORT'], { stdin: 'a line\nand more' }),
    real: { code: 0, stdout: 'the answer', received: ['a line\nand more'] },
  },
  {
    name: 'host port +: the same',
    server: () => tlsServer(answers('a line\n'.length, 'the answer')),
    play: (side) => side.run(['localhost', 'PORT', '+'], { stdin: 'a line\n' }),
    real: { code: 0, stdout: 'the answer', received: ['a line\n'] },
  },
  {
    name: 'host port: a conversation, each word when it is said',
    server: () =>
      tlsServer(async (seen) => {
        await seen.untilLength('one\n'.length);
        seen.socket.write('first\n');
        await seen.untilLength('one\ntwo\n'.length);
        seen.socket.end('second\n');
      }),
    async play(side) {
      side.start(['localhost', 'PORT']);
      side.process.stdin.write('one\n');
      await side.process.line(/^first$/);
      side.process.stdin.write('two\n');
      await side.end();
    },
    real: { code: 0, stdout: 'first\nsecond\n', received: ['one\ntwo\n'] },
  },
  {
    name: 'host port: the end of standard input does not end the connection',
    server: () => tlsServer(talksOn),
    play: (side) => talk(side, ['localhost', 'PORT'], 'question\n'),
    real: { code: 0, stdout: 'first\nstill open', received: ['question\n'] },
  },
  {
    name: 'host port: it ends when the server closes, though standard input is open',
    server: () => tlsServer(answers(0, 'bye\n')),
    async play(side) {
      side.start(['localhost', 'PORT']);
      await side.end();
    },
    real: { code: 0, stdout: 'bye\n', received: [''] },
  },
  {
    name: 'host port url key: it does not end its side while it reads',
    files: { key: 'question\n' },
    server: () => tlsServer(talksOn),
    play: (side) => talk(side, ['localhost', 'PORT', 'u', 'key'], ''),
    real: { code: 0, stdout: 'first\nstill open', received: [`${head('u')}question\n`] },
  },
  {
    name: 'an answer is printed as it comes',
    server: () =>
      tlsServer(async (seen, index) => {
        await seen.untilLength(1);
        seen.socket.write(`part ${index}\n`);
        await seen.untilLength(filledLength(`${head('u')}more`));
        seen.socket.end('end\n');
      }),
    async play(side) {
      side.start(['localhost', 'PORT', 'u', '-']);
      await side.until('the head arrived', () => (side.server?.received()[0]?.length ?? 0) > 0);
      side.process.stdin.end('more');
      await side.process.line(/^part 0$/);
      await side.end();
    },
    real: { code: 0, stdout: 'part 0\nend\n', received: [`${head('u')}more`] },
  },
];

/** Answers in two parts, and tells in the second whether the client has ended its side meanwhile. */
async function talksOn(...[seen, , proceed]: Parameters<Script>): Promise<void> {
  let ended = false;
  void seen.ended.then(() => {
    ended = true;
  });
  await seen.until((bytes) => bytes.includes('question\n'));
  seen.socket.write('first\n');
  await proceed;
  seen.socket.end(ended ? 'closed' : 'still open');
}

/** Runs it until it has printed the first part: by then an end of its side would have arrived. */
async function talk(side: Side, words: readonly string[], stdin: string): Promise<void> {
  side.start(words);
  side.process.stdin.end(stdin);
  await side.process.line(/^first$/);
  side.server?.proceed();
  await side.end();
}

export const oneShotCases: readonly Case[] = [...usages, ...transfers, ...unsendable, ...talks];
