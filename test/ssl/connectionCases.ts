/** One connection: whom it reaches, and which certificates it believes. */
import { makeCerts, testCerts } from '../support/certs.js';
import { answers, plainServer, tlsServer } from './captureServer.js';
import { type Case, filledLength, head, OK_ANSWER } from './cases.js';

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
        tlsServer(answers(filledLength(head('u')), OK_ANSWER), {
          cert: certs.cert,
          key: certs.key,
        }),
      play: (side) => side.run(['localhost', '-PORT', 'u'], { env: { SSL_CERT_FILE: undefined } }),
      // The header has the port without its dash.
      real: { code: 0, stdout: OK_ANSWER, received: [head('u')] },
    }),
  ),
  {
    name: 'with a - before the port, standard input goes out too',
    server: () => tlsServer(answers('text'.length, OK_ANSWER)),
    play: (side) =>
      side.run(['localhost', '-PORT'], { stdin: 'text', env: { SSL_CERT_FILE: undefined } }),
    real: { code: 0, stdout: OK_ANSWER, received: ['text'] },
  },
  {
    name: 'a server that only knows TLS 1.2',
    server: () => tlsServer(answers(filledLength(head('u')), OK_ANSWER), { maxVersion: 'TLSv1.2' }),
    play: (side) => side.run(['localhost', 'PORT', 'u']),
    real: { code: 0, stdout: OK_ANSWER, received: [head('u')] },
  },
  {
    name: 'a server that only knows TLS 1.1: exit code 1',
    server: () =>
      tlsServer(answers(1, OK_ANSWER), {
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
    server: () => tlsServer(answers(filledLength(head('u', '127.0.0.1')), OK_ANSWER)),
    play: (side) => side.run(['127.0.0.1', '-PORT', 'u']),
    real: { code: 0, stdout: OK_ANSWER, received: [head('u', '127.0.0.1')] },
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
    server: () => tlsServer(answers(filledLength(head('u', './address')), OK_ANSWER)),
    play: (side) => side.run(['./address', '-PORT', 'u']),
    // The header has the word of the command line.
    real: { code: 0, stdout: OK_ANSWER, received: [head('u', './address')] },
  },
  {
    name: 'a host file without an end of line',
    files: { 'sub/address': 'localhost' },
    server: () => tlsServer(answers('text'.length, OK_ANSWER)),
    play: (side) => side.run(['sub/address', '-PORT'], { stdin: 'text' }),
    real: { code: 0, stdout: OK_ANSWER, received: ['text'] },
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

export const connectionCases: readonly Case[] = [...certificates, ...connecting];
