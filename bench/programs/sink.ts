/**
 * The far side of the comparisons: takes whatever speaks the wire of today, throws the payload
 * away, answers `T`, and writes a line per arrival into a file. It stores nothing, so that the
 * senders are measured and not it; the same one serves all contenders of a run.
 *
 *     usage: sink CERT KEY EVENTS PORT
 *     prints: {"port":N}
 *     a line of EVENTS: <nanoseconds, monotonic> <batch|blob> <bytes>
 */
import { openSync, readFileSync, writeSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { endWithParent } from '../../chaos/program.js';

const T = 0x54;
const HEAD_MAX_BYTES = 16 * 1024;

endWithParent();
const [certFile = '', keyFile = '', eventsFile = '', port = '0'] = process.argv.slice(2);
const events = openSync(eventsFile, 'a', 0o600);

interface Request {
  kind: 'batch' | 'blob';
  bytes: number;
}

function parse(head: Buffer): { request: Request; length: number } | null {
  const headEnd = head.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const lines: string[] = [];
  let at = headEnd + 4;
  // The key, then a length or a path, then behind a path the length.
  for (;;) {
    const end = head.indexOf('\n', at);
    if (end < 0) return null;
    lines.push(head.toString('latin1', at, end));
    at = end + 1;
    if (lines.length < 2 || !/^\d+$/.test(lines.at(-1) ?? '')) continue;
    const kind = lines.length === 2 ? 'batch' : 'blob';
    return { request: { kind, bytes: Number(lines.at(-1)) }, length: at };
  }
}

function take(socket: TLSSocket): void {
  socket.setNoDelay(true);
  let head: Buffer = Buffer.alloc(0);
  let request: Request | null = null;
  let left = 0;
  socket.on('error', () => undefined);
  socket.on('end', () => socket.end());
  socket.on('data', (chunk: Buffer) => {
    let data = chunk;
    if (request === null) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      const parsed = parse(head);
      if (parsed === null) {
        if (head.length > HEAD_MAX_BYTES) socket.destroy();
        return;
      }
      request = parsed.request;
      left = request.bytes;
      data = head.subarray(parsed.length);
      head = Buffer.alloc(0);
    }
    const payload = Math.min(left, data.length);
    left -= payload;
    if (left > 0 || data.length === payload) return;
    if (data[payload] !== T) {
      socket.destroy();
      return;
    }
    const { kind, bytes } = request;
    writeSync(events, `${process.hrtime.bigint()} ${kind} ${bytes}\n`);
    socket.write('T');
    left = Number.POSITIVE_INFINITY;
  });
}

const server = createServer(
  { cert: readFileSync(certFile), key: readFileSync(keyFile), allowHalfOpen: true },
  take,
);
server.on('tlsClientError', () => undefined);
server.listen(Number(port), '127.0.0.1', () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }));
});
