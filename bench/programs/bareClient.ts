/**
 * The least that a client in Node has to do for the wire of today: one TLS connection per request
 * with resumed sessions, everything in one write, `T`, half-close, end. No order, no lease, no
 * spool, no digest, no timeouts. What any sender can at best reach on this machine.
 *
 *     usage: bareClient PORT CA KEY COUNT BYTES CONNECTIONS batch|blob
 *     prints: {"seconds":N}
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, createSecureContext } from 'node:tls';
import { endWithParent } from '../../chaos/program.js';

endWithParent();
const [port = '', ca = '', key = '', count = '', bytes = '', connections = '', kind = ''] =
  process.argv.slice(2);
const secureContext = createSecureContext({ ca: readFileSync(ca) });
const head = Buffer.concat([
  Buffer.from(
    `GET /foo.r/!replica HTTP/1.0\r\nUser-Agent: PicoLisp\r\nHost: localhost:${port}\r\nAccept-Charset: utf-8\r\n\r\n`,
  ),
  readFileSync(key),
]);
const payload = randomBytes(Number(bytes));
let session: Buffer | undefined;
let next = 0;

function send(number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      port: Number(port),
      host: 'localhost',
      servername: 'localhost',
      secureContext,
      ...(session === undefined ? {} : { session }),
    });
    socket.setNoDelay(true);
    socket.on('session', (data) => {
      session = data;
    });
    socket.on('error', reject);
    let answered = false;
    socket.on('secureConnect', () => {
      const announced = kind === 'blob' ? `b/${number}\n${bytes}\n` : `${bytes}\n`;
      socket.write(Buffer.concat([head, Buffer.from(announced), payload, Buffer.from('T')]));
    });
    socket.on('data', () => {
      answered = true;
      socket.end();
    });
    socket.on('end', () => (answered ? resolve() : reject(new Error('closed without T'))));
  });
}

async function lane(): Promise<void> {
  while (next < Number(count)) {
    next += 1;
    await send(next);
  }
}

await send(0);
const begun = performance.now();
await Promise.all(Array.from({ length: Number(connections) }, lane));
console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }));
process.exit(0);
