import type { AddressInfo, Server, Socket } from 'node:net';

/**
 * What ends a server of a test for good, whatever its clients are doing. Call it before the server
 * listens.
 *
 * `close()` alone waits for every connection. A TLS server tells of one only behind its handshake,
 * and one whose handshake ends behind `close()` would keep it open for ever: so these are the raw
 * sockets, which all servers tell of at once.
 */
export function closer(server: Server): () => Promise<void> {
  const sockets = new Set<Socket>();
  let isClosing = false;
  server.on('connection', (socket: Socket) => {
    if (isClosing) socket.destroy();
    else sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return async () => {
    isClosing = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
}

/** Listens on loopback. @returns the port. `port`: default a free one */
export async function listen(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
  return (server.address() as AddressInfo).port;
}
