import { randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

/** Longer than every deadline of the receiver. */
const PATIENCE_MS = 40_000;
/** Between two bytes of one that is slow on purpose: far inside the receiver's idle limit. */
const TRICKLE_MS = 200;

/** Whom the attack is on. */
export interface Target {
  port: number;
  /** An app whose key has leaked, and the key. */
  app: string;
  key: string;
}

/** One way to be hostile. Each attack answers what the receiver said until its end. */
export interface Kind {
  name: string;
  /** At once. */
  lanes: number;
  /** Between two tries of a lane. */
  pauseMs: number;
  attack(target: Target): Promise<string>;
}

/** As if there were several attackers, one of them at the address of the honest ones. */
function someAddress(): string {
  return `127.0.0.${1 + Math.floor(Math.random() * 3)}`;
}

function tcp({ port }: Target): Socket {
  const socket = connectTcp({ port, host: '127.0.0.1', localAddress: someAddress() });
  socket.on('error', () => undefined);
  return socket;
}

function tls(target: Target, options: { ALPNProtocols?: string[] } = {}): TLSSocket {
  const socket = connectTls({
    socket: tcp(target),
    servername: 'localhost',
    // Who attacks does not care whom he talks to.
    rejectUnauthorized: false,
    ...options,
  });
  socket.on('error', () => undefined);
  return socket;
}

/** What comes back until the connection is over. */
function answer(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1').slice(0, 100);
      if (text === 'T') socket.end();
    });
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

const head = (app: string): string => `GET /${app}/!replica HTTP/1.0\r\nUser-Agent: x\r\n\r\n`;

function say(target: Target, text: string | Buffer, options: { end?: boolean } = {}) {
  const socket = tls(target);
  const over = answer(socket);
  socket.write(text);
  if (options.end === true) socket.end();
  return over;
}

/** Whatever is sent, a byte now and then. */
function trickle(socket: Socket, text: string): Promise<string> {
  let at = 0;
  const timer = setInterval(() => {
    if (at < text.length) socket.write(text[at] ?? '');
    at += 1;
  }, TRICKLE_MS);
  return answer(socket).finally(() => clearInterval(timer));
}

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;

const TRAVERSALS = [
  '../escaped',
  'a/../../escaped',
  '/tmp/escaped',
  '..',
  './x',
  'a//b',
  'a/',
  'x\0y',
  'x\x1b[2J',
  `${'d/'.repeat(100)}x`,
  'n'.repeat(300),
  `${'long/'.repeat(800)}`,
  '\xff\xfe',
];

export const KINDS: readonly Kind[] = [
  {
    name: 'wrongKey',
    lanes: 4,
    pauseMs: 200,
    attack: (t) => say(t, `${head('app1.r')}${randomBytes(24).toString('base64')}\n3\nabcT`),
  },
  {
    name: 'unknownApp',
    lanes: 1,
    pauseMs: 500,
    attack: (t) => say(t, `${head(pick(['..', '.x', 'a/b', '%00', 'x'.repeat(500)]))}k\n3\nabcT`),
  },
  {
    name: 'lengthTooLong',
    lanes: 2,
    pauseMs: 300,
    attack: (t) => say(t, `${head(t.app)}${t.key}900000\nabc`, { end: true }),
  },
  {
    name: 'lengthTooShort',
    lanes: 2,
    pauseMs: 300,
    attack: (t) => say(t, `${head(t.app)}${t.key}2\nabcdefT`),
  },
  {
    name: 'lengthHuge',
    lanes: 2,
    pauseMs: 300,
    attack: (t) =>
      say(t, `${head(t.app)}${t.key}${pick(['999999999999999', '1e9', '-1', '+3'])}\nx`),
  },
  {
    name: 'traversal',
    lanes: 3,
    pauseMs: 200,
    attack: (t) => {
      const path = Buffer.from(pick(TRAVERSALS), 'latin1');
      return say(
        t,
        Buffer.concat([Buffer.from(`${head(t.app)}${t.key}`), path, Buffer.from('\n3\nabcT')]),
      );
    },
  },
  {
    name: 'garbage',
    lanes: 3,
    pauseMs: 200,
    attack: (t) => {
      const socket = tcp(t);
      const over = answer(socket);
      socket.write(randomBytes(1 + Math.floor(Math.random() * 3_000)));
      return over;
    },
  },
  {
    name: 'garbageInTls',
    lanes: 3,
    pauseMs: 200,
    attack: (t) => say(t, randomBytes(1 + Math.floor(Math.random() * 60_000))),
  },
  {
    name: 'endlessHead',
    lanes: 2,
    pauseMs: 300,
    attack: (t) => say(t, `GET /${'x'.repeat(200_000)}`),
  },
  {
    name: 'garbageInHttp2',
    lanes: 2,
    pauseMs: 300,
    attack: (t) => {
      const socket = tls(t, { ALPNProtocols: ['h2'] });
      const over = answer(socket);
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      socket.write(randomBytes(5_000));
      return over;
    },
  },
  {
    // Ends in the middle of the handshake, of the head, or of the data.
    name: 'vanishing',
    lanes: 3,
    pauseMs: 200,
    attack: async (t) => {
      const socket = tls(t);
      const over = answer(socket);
      socket.write(`${head(t.app)}${t.key}500000\n${'x'.repeat(100_000)}`);
      setTimeout(() => socket.destroy(), Math.random() * 50);
      return over;
    },
  },
];

/** Those that want a place and give nothing for it; as many lanes as places to hold. */
export const HOLDERS: readonly Omit<Kind, 'lanes'>[] = [
  { name: 'silent', pauseMs: 1_000, attack: (t) => answer(tcp(t)) },
  {
    name: 'halfHandshake',
    pauseMs: 1_000,
    attack: (t) => {
      const socket = tcp(t);
      // The header of a record with a ClientHello that never comes whole.
      socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0]));
      return answer(socket);
    },
  },
  {
    name: 'slowloris',
    pauseMs: 1_000,
    attack: (t) => trickle(tls(t), `${head('app1.r').slice(0, -2)}${'X: y\r\n'.repeat(1_000)}`),
  },
  {
    // With a key that has leaked: the body comes so slowly that only the deadline ends it.
    name: 'slowBody',
    pauseMs: 1_000,
    attack: (t) => {
      const socket = tls(t);
      socket.write(`${head(t.app)}${t.key}100000\n${'x'.repeat(50_000)}`);
      return trickle(socket, 'x'.repeat(200));
    },
  },
];
