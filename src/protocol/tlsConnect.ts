import { isIP, type TcpNetConnectOpts } from 'node:net';
import { type ConnectionOptions, checkServerIdentity, connect, type TLSSocket } from 'node:tls';
import { FerryError } from '../common/errors.js';
import { Addresses } from './addresses.js';
import { addressOf, type Endpoint } from './endpoint.js';
import { aborted, connectError, wireError } from './errors.js';
import { withoutCertificate } from './tlsSession.js';
import {
  forgetSession,
  rememberedSession,
  rememberSession,
  secureContextFor,
  sessionId,
} from './tlsTrust.js';

const addresses = new Addresses();

/** What differs between the wires. */
export interface ConnectHow {
  /** Default false: our side ends with the peer's. */
  allowHalfOpen?: boolean;
  ALPNProtocols?: string[];
}

/**
 * Connects and shakes hands; certificate and name are checked when this resolves. Nothing has been
 * written, and nobody listens on the socket.
 *
 * @throws FerryError CONNECTION_REFUSED, HOST_UNKNOWN, HOST_UNREACHABLE, CERTIFICATE_INVALID,
 *   CA_INVALID, HTTP2_NOT_OFFERED, TLS_FAILED, TIMEOUT_CONNECT, or the reason of `signal`
 */
export async function connectTls(
  endpoint: Endpoint,
  signal: AbortSignal,
  how: ConnectHow,
): Promise<TLSSocket> {
  if (signal.aborted) throw aborted(signal);
  const id = sessionId(endpoint);
  const socket = tlsSocket(endpoint, id, how);
  try {
    await handshake(socket, endpoint, signal);
  } catch (error) {
    // An end of our own says nothing of the far side.
    if (!signal.aborted) {
      forgetSession(id);
      addresses.forget(endpoint.host);
    }
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  }
  addresses.reached(endpoint.host, socket.remoteAddress);
  socket.setNoDelay(true);
  return socket;
}

function tlsSocket(endpoint: Endpoint, id: string, how: ConnectHow): TLSSocket {
  const { host, port, tls, timeouts } = endpoint;
  const name = tls.servername ?? host;
  const session = rememberedSession(id);
  let secureContext: ReturnType<typeof secureContextFor>;
  try {
    secureContext = secureContextFor(endpoint);
  } catch (error) {
    const own = tls.client ? ', or tls.cert and tls.key do not fit' : '';
    throw new FerryError('CA_INVALID', `the CA of ${endpoint.name} is not PEM${own}`, {
      kind: 'destination',
      hint: `check the file that tls.ca names${own}`,
      cause: error,
    });
  }
  const options: ConnectionOptions &
    Pick<TcpNetConnectOpts, 'allowHalfOpen' | 'autoSelectFamilyAttemptTimeout'> = {
    host,
    port,
    lookup: addresses.lookup,
    secureContext,
    rejectUnauthorized: tls.verify,
    // RFC 6066: SNI holds names, never addresses.
    servername: isIP(name) === 0 ? name : '',
    checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
    ...how,
    // Node's 250 ms per address fails hosts that are merely far away.
    autoSelectFamilyAttemptTimeout: Math.max(250, Math.ceil(timeouts.connectMs / 3)),
    ...(session === undefined ? {} : { session }),
  };
  const socket = connect(options);
  socket.setNoDelay(true);
  // TLS 1.3 sends tickets after the handshake, and several: the latest serves best.
  // Node tells of them only once the server is verified, where that was asked.
  socket.on('session', (latest: Buffer) => {
    rememberSession(id, tls.verify && socket.authorized ? withoutCertificate(latest) : latest);
  });
  return socket;
}

function handshake(socket: TLSSocket, endpoint: Endpoint, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const limit = endpoint.timeouts.connectMs;
    const finish = (error: FerryError | null) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.removeListener('secureConnect', onSecure);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
      if (error === null) resolve();
      else reject(error);
    };
    const onSecure = () => finish(null);
    const onError = (error: Error) => finish(connectError(error, endpoint));
    const onClose = () => finish(connectError(new Error('closed in the handshake'), endpoint));
    const onAbort = () => finish(aborted(signal));
    const timer = setTimeout(() => {
      const message = `no TLS connection to ${addressOf(endpoint)} within ${limit} ms`;
      finish(wireError('TIMEOUT_CONNECT', message));
    }, limit);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('secureConnect', onSecure);
    socket.once('error', onError);
    socket.once('close', onClose);
  });
}
