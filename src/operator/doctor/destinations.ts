/**
 * Destinations: key, name, connection, TLS, certificate. What is opened is one connection, and all
 * that goes over it is the handshake and its end: no byte that the far side could take for data.
 */
import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls';
import { FerryError } from '../../common/errors.js';
import type { DirectoryDestination, FerryConfig, WireDestination } from '../../config/model.js';
import { LINGER_MS } from '../../protocol/connection.js';
import { addressOf, type Endpoint } from '../../protocol/endpoint.js';
import { connectError, wireError } from '../../protocol/errors.js';
import { secureContextFor } from '../../protocol/tlsTrust.js';
import { readHost, readTrust } from '../../workers/endpoint.js';
import { judgeValidity } from './certificate.js';
import type { Examination, Findings } from './examination.js';
import { checkKeyFile } from './keyFile.js';
import { exists, lackingRights, ownerHint } from './system.js';

/** Longer than any healthy handshake; a configuration may allow more, an operator does not wait. */
const CONNECT_MS_MAX = 5_000;

export function destinationExaminations(config: FerryConfig): Examination[] {
  return [...config.destinations.values()].flatMap((destination): Examination[] => {
    const { name } = destination;
    if (destination.kind === 'directories') {
      return [
        { check: 'directories', subject: name, run: (found) => checkCopies(destination, found) },
      ];
    }
    return [
      { check: 'key', subject: name, run: (found) => checkKey(destination, found) },
      { check: 'connection', subject: name, run: (found) => checkPeer(destination, found) },
    ];
  });
}

async function checkKey({ key }: WireDestination, findings: Findings): Promise<void> {
  if ('file' in key) await checkKeyFile('key', key.file, findings);
  else findings.ok('key', 'stands in the configuration');
}

async function checkCopies(
  { directories }: DirectoryDestination,
  findings: Findings,
): Promise<void> {
  let good = 0;
  for (const directory of directories) {
    if (!(await exists(directory))) {
      findings.fail('directories', `there is no ${directory}`, `mkdir ${directory}`);
      continue;
    }
    const lacking = await lackingRights(directory, ['read', 'write', 'enter']);
    if (lacking.length === 0) good += 1;
    else {
      findings.fail(
        'directories',
        `${directory}: this user lacks the right to ${lacking.join(', ')}`,
        await ownerHint(directory),
      );
    }
  }
  if (good === directories.length) {
    findings.ok('directories', good === 0 ? 'none: nothing is kept' : `all ${good} are writable`);
  }
}

type Peer = Pick<Endpoint, 'host' | 'port' | 'tls'> & { dialect: WireDestination['dialect'] };

async function checkPeer(destination: WireDestination, findings: Findings): Promise<void> {
  let peer: Peer;
  try {
    const tls = await readTrust(destination);
    const { port, dialect } = destination;
    peer = { host: await readHost(destination), port, tls, dialect };
  } catch (error) {
    const isHost = error instanceof FerryError && error.code === 'HOST_FILE_MISSING';
    findings.error(isHost ? 'host name' : 'certificate', error);
    findings.skipped('a file of its configuration is missing', 'connection', 'tls');
    return;
  }
  if (!(await checkName(peer, findings))) {
    findings.skipped('the name has no address', 'connection', 'tls', 'certificate');
    return;
  }
  const limitMs = Math.min(destination.timeouts.connectMs, CONNECT_MS_MAX);
  const socket = await checkConnection(peer, limitMs, findings);
  if (socket === null) {
    findings.skipped('there is no connection', 'tls', 'certificate');
    return;
  }
  const secure = await checkTls(peer, socket, limitMs, findings);
  if (secure === null) {
    findings.skipped('there is no TLS', 'certificate');
    return;
  }
  checkCertificate(peer, secure, findings);
  await farewell(secure);
}

async function checkName({ host }: Peer, findings: Findings): Promise<boolean> {
  if (isIP(host) !== 0) return true;
  try {
    const addresses = await lookup(host, { all: true });
    findings.ok('host name', `${host} is ${addresses.map(({ address }) => address).join(', ')}`);
    return true;
  } catch {
    findings.fail(
      'host name',
      `${host} has no address`,
      'check the name and the DNS of this machine',
    );
    return false;
  }
}

async function checkConnection(
  peer: Peer,
  limitMs: number,
  findings: Findings,
): Promise<Socket | null> {
  const socket = connectTcp({ host: peer.host, port: peer.port });
  try {
    await settled(socket, 'connect', limitMs, peer);
    findings.ok('connection', `${addressOf(peer)} takes connections`);
    return socket;
  } catch (error) {
    socket.destroy();
    findings.error('connection', error);
    return null;
  }
}

async function checkTls(
  peer: Peer,
  socket: Socket,
  limitMs: number,
  findings: Findings,
): Promise<TLSSocket | null> {
  const name = peer.tls.servername ?? peer.host;
  let secure: TLSSocket | null = null;
  try {
    secure = connectTls({
      socket,
      secureContext: secureContextFor(peer),
      servername: isIP(name) === 0 ? name : '',
      ...(peer.dialect === 'h2' ? { ALPNProtocols: ['h2'] } : {}),
      // Judged below, with the certificate in hand.
      rejectUnauthorized: false,
    });
    await settled(secure, 'secureConnect', limitMs, peer);
    const protocol = secure.getProtocol() ?? 'handshake done';
    if (peer.dialect !== 'h2') findings.ok('tls', protocol);
    else if (secure.alpnProtocol === 'h2') findings.ok('tls', `${protocol}, HTTP/2`);
    else findings.fail('tls', `${protocol}, but no HTTP/2`, 'write: dialect: acked');
    return secure;
  } catch (error) {
    secure?.destroy();
    socket.destroy();
    findings.error('tls', error);
    return null;
  }
}

function checkCertificate(peer: Peer, secure: TLSSocket, findings: Findings): void {
  const check = 'certificate';
  const name = peer.tls.servername ?? peer.host;
  const trouble = secure.authorizationError as unknown;
  const code = typeof trouble === 'string' ? trouble : null;
  const shown = secure.getPeerCertificate();
  // Not `getPeerX509Certificate`: in Node 20 the other call answers nothing behind it.
  const certificate = shown.raw === undefined ? null : new X509Certificate(shown.raw);
  if (!peer.tls.verify) {
    findings.warn(
      check,
      'is not looked at (tls.verify: false): anybody on the way may take the data',
      'name its authority: tls: {ca: ./ca.pem}',
    );
    return;
  }
  const identity = code ?? (checkServerIdentity(name, shown) as { code?: string })?.code;
  if (identity !== undefined && !TIME_TROUBLE.has(identity)) {
    const error = connectError(Object.assign(new Error(identity), { code: identity }), peer);
    const names = certificate?.subjectAltName ?? certificate?.subject;
    const isName = identity === 'ERR_TLS_CERT_ALTNAME_INVALID' && names !== undefined;
    findings.fail(
      check,
      isName ? `is for ${names}, not for ${name}` : error.message,
      error.hint ?? 'look at it with openssl s_client -connect',
    );
    return;
  }
  if (certificate === null) findings.fail(check, 'there is none', 'give the server one');
  else judgeValidity(check, `for ${name}`, certificate, findings);
}

/** What `judgeValidity` says better, with the date. */
const TIME_TROUBLE = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

/** The event, or an error of ours: what broke, or that nothing came in time. */
function settled(
  socket: Socket | TLSSocket,
  event: 'connect' | 'secureConnect',
  limitMs: number,
  peer: Peer,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        wireError('TIMEOUT_CONNECT', `${addressOf(peer)} has not answered within ${limitMs} ms`),
      );
    }, limitMs);
    const failed = (error: Error): void => {
      clearTimeout(timer);
      reject(connectError(error, peer));
    };
    socket.on('error', failed); // stays: what comes later must not end the process
    socket.once('close', () => failed(new Error('closed in the handshake')));
    socket.once(event, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** close_notify, and a moment for the other side's: who vanishes can hang a PicoLisp replica. */
function farewell(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume(); // unread bytes would keep its end from being seen
    socket.end();
  });
}
