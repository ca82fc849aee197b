import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { checkServerIdentity, connect, type TLSSocket } from 'node:tls';
import { asError, FerryError, systemCode } from '../common/errors.js';
import { connectError } from '../protocol/errors.js';
import type { Endpoint } from '../protocol/index.js';
import { plainRequest } from '../protocol/index.js';
import { secureContextFor } from '../protocol/tlsTrust.js';
import { readExtraCa } from '../workers/endpoint.js';
import type { SslFile, TransferCall } from './arguments.js';
import { servicePort } from './port.js';

export interface TransferStreams {
  stdin: Readable;
  stdout: Writable;
}

/** bin/ssl's buffer for a host file holds the longest IPv6 address. */
const HOST_FILE_BYTES_MAX = 40;

/** Time for the request of a call that failed to leave before the process does. */
const FLUSH_TIMEOUT_MS = 1_000;

/** What a file is read in: sizes between 256 KiB and 1 MiB are fastest over TLS. */
const READ_BYTES = 256 * 1024;

/**
 * One call of bin/ssl without a daemon: request and files go out, then everything that the server
 * says goes to standard output until it closes. Without url, standard input goes out meanwhile.
 *
 * As in bin/ssl nothing is half-closed, an answer is not looked at, and however the server ends the
 * connection is an end.
 *
 * @throws FerryError those of `connectError`; CANNOT_SEND: a file cannot be read, or the server
 *   does not take it
 */
export async function transfer(call: TransferCall, streams: TransferStreams): Promise<void> {
  const socket = await open(call);
  try {
    if (call.url === null) {
      streams.stdin.pipe(socket, { end: false });
    } else {
      await write(socket, plainRequest(call.url, `${call.host}:${call.port}`), 'the request');
      for (const file of call.files) await writeFile(socket, file, streams.stdin);
    }
  } catch (error) {
    await flush(socket);
    throw error;
  }
  await printAnswer(socket, streams.stdout);
  streams.stdin.unpipe(socket);
  streams.stdin.destroy();
  socket.destroy();
}

/** Tries each address of the host until a handshake succeeds. */
async function open(call: TransferCall): Promise<TLSSocket> {
  const host = await addressName(call.host);
  const endpoint: Endpoint = {
    name: call.host,
    host,
    port: servicePort(call.port),
    url: '',
    key: Buffer.alloc(0),
    dialect: 'acked',
    confirm: 'acked',
    tls: {
      verify: call.verify,
      ca: null,
      extraCa: call.verify ? await readExtraCa(call.host) : null,
      servername: null,
    },
    timeouts: { connectMs: 0, idleMs: 0, applyMs: 0 },
  };
  let failure: FerryError | null = null;
  for (const address of await addressesOf(host, endpoint)) {
    try {
      return await handshake(address, call, endpoint);
    } catch (error) {
      failure ??= error instanceof FerryError ? error : connectError(error, endpoint);
    }
  }
  throw failure ?? connectError(new Error('no address'), endpoint);
}

/** A host with a "/" that is a readable file: the address is its first line. */
async function addressName(host: string): Promise<string> {
  if (!host.includes('/')) return host;
  const bytes = await readFile(host).catch(() => null);
  if (bytes === null || bytes.length === 0) return host;
  return bytes.toString('latin1', 0, HOST_FILE_BYTES_MAX).split('\n', 1)[0] ?? host;
}

async function addressesOf(host: string, endpoint: Endpoint): Promise<string[]> {
  try {
    const found = await lookup(host, { all: true, order: 'verbatim' });
    return [...new Set(found.map(({ address }) => address))];
  } catch (error) {
    throw connectError(error, endpoint);
  }
}

async function handshake(
  address: string,
  call: TransferCall,
  endpoint: Endpoint,
): Promise<TLSSocket> {
  const socket = connect({
    host: address,
    port: endpoint.port,
    secureContext: secureContextFor(endpoint),
    rejectUnauthorized: call.verify,
    // The name that was given is what is checked, also when a file says the address.
    ...(isIP(call.host) === 0 && !call.host.includes('/') ? { servername: call.host } : {}),
    checkServerIdentity: (_name, certificate) =>
      isIP(call.host) === 0 ? checkServerIdentity(call.host, certificate) : notByAddress(call.host),
  });
  socket.setNoDelay(true);
  await once(socket, 'secureConnect'); // rejects with the socket's error
  // Whatever comes later is an end of the connection; who writes learns it from the write.
  socket.on('error', () => undefined);
  return socket;
}

/** bin/ssl compares names only, so an address never matches, whatever the certificate says. */
function notByAddress(host: string): Error {
  return new FerryError('CERTIFICATE_INVALID', `${host} is an address, and names are checked`, {
    kind: 'destination',
    hint: 'connect by a name that the certificate has, or put a "-" before the port',
  });
}

async function writeFile(socket: TLSSocket, file: SslFile, stdin: Readable): Promise<void> {
  if (file !== 'stdin' && file.kind === 'text') return write(socket, file.text, 'the text');
  const name = file === 'stdin' ? 'standard input' : file.path;
  // A second "-" finds standard input closed by the first.
  if (file === 'stdin' && stdin.readableEnded) throw cannotSend(name, 'it was read already');
  const source =
    file === 'stdin' ? stdin : createReadStream(file.path, { highWaterMark: READ_BYTES });
  try {
    for await (const chunk of source) await write(socket, chunk as Buffer, name);
  } catch (error) {
    if (error instanceof FerryError) throw error;
    throw cannotSend(name, systemCode(error) ?? asError(error).message);
  }
}

function write(socket: TLSSocket, bytes: Buffer | string, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) =>
      reject(
        cannotSend(name, `the server ended the connection, ${systemCode(error) ?? error.message}`),
      );
    if (socket.destroyed) return failed(new Error('closed'));
    socket.write(bytes, (error) => (error ? failed(error) : resolve()));
  });
}

function cannotSend(name: string, why: string): FerryError {
  return new FerryError('CANNOT_SEND', `Can't send ${name} (${why})`, {
    kind: 'destination',
    hint: 'what came before it was sent; look at the file, or at the server’s log',
  });
}

/** Until the server closes, whichever way. A reader of ours that went away stops nothing. */
async function printAnswer(socket: TLSSocket, stdout: Writable): Promise<void> {
  try {
    for await (const chunk of socket) {
      if (!stdout.writable) continue;
      if (!stdout.write(chunk as Buffer)) {
        await Promise.race([once(stdout, 'drain'), once(stdout, 'close')]).catch(() => undefined);
      }
    }
  } catch {
    // A reset is an end like any other.
  }
}

async function flush(socket: TLSSocket): Promise<void> {
  if (!socket.destroyed) {
    const closed = once(socket, 'close').catch(() => undefined);
    socket.end();
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), FLUSH_TIMEOUT_MS);
    await closed;
    clearTimeout(timer);
  }
}
