import { createConnection } from 'node:net';

/**
 * `loading`: alive, still reading its append-only file; commands have to wait. `silent`: somebody
 * listens there and says nothing.
 */
export type ServerAnswer = 'ready' | 'loading' | 'silent' | 'none';

const PING_TIMEOUT_MS = 2_000;

/** Asks the server behind a socket whether it is there. Never throws. */
export function ping(socketPath: string): Promise<ServerAnswer> {
  return new Promise((resolve) => {
    const socket = createConnection({ path: socketPath });
    let received = '';
    const finish = (answer: ServerAnswer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PING_TIMEOUT_MS, () => finish(socket.connecting ? 'none' : 'silent'));
    socket.on('error', () => finish('none'));
    socket.on('close', () => finish('none'));
    socket.on('connect', () => socket.write('PING\r\n'));
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (!received.includes('\r\n')) return;
      if (received.startsWith('+PONG')) finish('ready');
      else finish(received.startsWith('-LOADING') ? 'loading' : 'none');
    });
  });
}
