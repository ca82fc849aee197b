/** `host port` and `host port url [key [file]]`: one connection, then the end. */
import { makeCerts, testCerts } from '../support/certs.js';
import {
  answers,
  type CaptureServer,
  plainServer,
  type Script,
  tlsServer,
} from './captureServer.js';
import { type Case, head } from './cases.js';
import type { Files, Outcome, Side } from './programs.js';

const ANSWER = 'HTTP/1.0 200 OK\r\n\r\nhello\n';
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
  const { name, words, request = '', answer = ANSWER, code = 0 } = shot;
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

/** Ports of tests have five digits. */
function filledLength(request: string): number {
  return Buffer.byteLength(request.replaceAll('PORT', '12345'), 'latin1');
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

const otherName = makeCerts({ names: 'DNS:other.example', days: 30 });
const expired = makeCerts({ names: 'DNS:localhost', days: 0 });
const wildcard = makeCerts({ names: 'DNS:local*', days: 30 });

function untrusted(
  name: string,
  words: readonly string[],
  certs: { cert: Buffer; key: Buffer },
  env: Record<string, string | undefined>,
  says: RegExp,
): Case {
  return {
    name,
    server: () => tlsServer(() => undefined, { cert: certs.cert, key: certs.key }),
    play: (side) => side.run(words, { env }),
    real: { code: 1, stdout: '', received: [] },
    realSays: /certificate verify failed/,
    says,
  };
}

const certificates: Case[] = [
  untrusted(
    'a certificate of an unknown authority: exit code 1',
    ['localhost', 'PORT', 'u'],
    testCerts(),
    { SSL_CERT_FILE: undefined },
    /certificate/i,
  ),
  untrusted(
    'the same with host port',
    ['localhost', 'PORT'],
    testCerts(),
    { SSL_CERT_FILE: undefined },
    /certificate/i,
  ),
  untrusted(
    'a certificate for another name: exit code 1',
    ['localhost', 'PORT', 'u'],
    otherName,
    { SSL_CERT_FILE: otherName.caFile },
    /certificate/i,
  ),
  untrusted(
    'an expired certificate: exit code 1',
    ['localhost', 'PORT', 'u'],
    expired,
    { SSL_CERT_FILE: expired.caFile },
    /certificate/i,
  ),
  untrusted(
    'a partial wildcard is no match: exit code 1',
    ['localhost', 'PORT', 'u'],
    wildcard,
    { SSL_CERT_FILE: wildcard.caFile },
    /certificate/i,
  ),
  untrusted(
    'an SSL_CERT_FILE that is not there: exit code 1',
    ['localhost', 'PORT', 'u'],
    testCerts(),
    { SSL_CERT_FILE: '/none/at/all.pem' },
    /\/none\/at\/all\.pem/,
  ),
  ...[
    { what: 'of an unknown authority', certs: testCerts() },
    { what: 'for another name', certs: otherName },
    { what: 'that has expired', certs: expired },
  ].map(
    ({ what, certs }): Case => ({
      name: `with a - before the port a certificate ${what} is accepted`,
      server: () =>
        tlsServer(answers(filledLength(head('u')), ANSWER), { cert: certs.cert, key: certs.key }),
      play: (side) => side.run(['localhost', '-PORT', 'u'], { env: { SSL_CERT_FILE: undefined } }),
      // The header has the port without its dash.
      real: { code: 0, stdout: ANSWER, received: [head('u')] },
    }),
  ),
  {
    name: 'with a - before the port, standard input goes out too',
    server: () => tlsServer(answers('text'.length, ANSWER)),
    play: (side) =>
      side.run(['localhost', '-PORT'], { stdin: 'text', env: { SSL_CERT_FILE: undefined } }),
    real: { code: 0, stdout: ANSWER, received: ['text'] },
  },
  {
    name: 'a server that only knows TLS 1.2',
    server: () => tlsServer(answers(filledLength(head('u')), ANSWER), { maxVersion: 'TLSv1.2' }),
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 0, stdout: ANSWER, received: [head('u')] },
  },
  {
    name: 'a server that only knows TLS 1.1: exit code 1',
    server: () =>
      tlsServer(answers(1, ANSWER), {
        minVersion: 'TLSv1',
        maxVersion: 'TLSv1.1',
        ciphers: 'DEFAULT@SECLEVEL=0',
      }),
    play: (side) => side.run(['localhost', '-PORT', 'u']),
    real: { code: 1, stdout: '', received: [] },
    says: /TLS/,
  },
];

const connecting: Case[] = [
  {
    name: 'a refused connection: exit code 1',
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 1, stdout: '' },
    says: /refuse|listens/,
  },
  {
    name: 'an unknown host: exit code 1',
    play: (side) => side.run(['no-such-host.invalid', '443', 'u']),
    real: { code: 1, stdout: '' },
    says: /no-such-host\.invalid/,
  },
  {
    name: 'an empty host: exit code 1',
    server: () => tlsServer(() => undefined),
    play: (side) => side.run(['', 'PORT', 'u']),
    real: { code: 1, stdout: '', received: [] },
    says: /host|name|address/i,
  },
  {
    name: 'an empty port: exit code 1',
    play: (side) => side.run(['localhost', '', 'u']),
    real: { code: 1, stdout: '' },
    says: /port|refused|listens/i,
  },
  {
    name: 'a port that is no number and no service: exit code 1',
    play: (side) => side.run(['localhost', 'no-such-service', 'u']),
    real: { code: 1, stdout: '' },
    says: /no-such-service|port/i,
  },
  {
    name: 'an address instead of a name goes through with a - before the port',
    server: () => tlsServer(answers(filledLength(head('u', '127.0.0.1')), ANSWER)),
    play: (side) => side.run(['127.0.0.1', '-PORT', 'u']),
    real: { code: 0, stdout: ANSWER, received: [head('u', '127.0.0.1')] },
  },
  {
    name: 'an address instead of a name is never what a certificate is for: exit code 1',
    server: () => tlsServer(() => undefined),
    play: (side) => side.run(['127.0.0.1', 'PORT', 'u']),
    real: { code: 1, stdout: '', received: [] },
    says: /127\.0\.0\.1.*\n?.*"-"/,
  },
  {
    name: 'a host with a / is a file: its first line is the address',
    files: { address: '127.0.0.1\nnot read\n' },
    server: () => tlsServer(answers(filledLength(head('u', './address')), ANSWER)),
    play: (side) => side.run(['./address', '-PORT', 'u']),
    // The header has the word of the command line.
    real: { code: 0, stdout: ANSWER, received: [head('u', './address')] },
  },
  {
    name: 'a host file without an end of line',
    files: { 'sub/address': 'localhost' },
    server: () => tlsServer(answers('text'.length, ANSWER)),
    play: (side) => side.run(['sub/address', '-PORT'], { stdin: 'text' }),
    real: { code: 0, stdout: ANSWER, received: ['text'] },
  },
  {
    name: 'a host without a / is no file',
    files: { address: '127.0.0.1\n' },
    server: () => tlsServer(() => undefined),
    play: (side) => side.run(['address', '-PORT', 'u']),
    real: { code: 1, stdout: '', received: [] },
    says: /address/,
  },
  {
    name: 'an empty host file: exit code 1',
    files: { address: '' },
    server: () => tlsServer(() => undefined),
    play: (side) => side.run(['./address', '-PORT', 'u']),
    real: { code: 1, stdout: '', received: [] },
    says: /address/,
  },
  {
    name: 'a host file that is missing: exit code 1',
    server: () => tlsServer(() => undefined),
    play: (side) => side.run(['./address', '-PORT', 'u']),
    real: { code: 1, stdout: '', received: [] },
    says: /address/,
  },
  {
    name: 'a server that speaks no TLS: exit code 1',
    server: () => plainServer((socket) => socket.end('220 mail.example ESMTP\r\n')),
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 1, stdout: '' },
    says: /TLS/,
  },
  {
    name: 'a server that closes at once: exit code 1',
    server: () => plainServer((socket) => socket.end()),
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 1, stdout: '' },
    says: /TLS|closed|connection/i,
  },
  {
    name: 'a server that resets at once: exit code 1',
    server: () => plainServer((socket) => socket.resetAndDestroy()),
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 1, stdout: '' },
    says: /reset|connection|TLS/i,
  },
  {
    name: 'a server that resets after the request: what came is printed, exit code 0',
    server: () =>
      tlsServer(async (seen) => {
        await seen.untilLength(filledLength(head('u')));
        seen.reset();
      }),
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 0, stdout: '', received: [head('u')] },
  },
];

export const oneShotCases: readonly Case[] = [
  ...usages,
  ...transfers,
  ...unsendable,
  ...talks,
  ...certificates,
  ...connecting,
];
