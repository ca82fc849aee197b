import type { Socket } from 'node:net';

/*
 * The PROXY protocol, version 2 (haproxy's doc/proxy-protocol.txt): what a TCP load balancer writes
 * in front of a connection to say whose it is.
 *
 *   signature (12) | version 2, command (1) | family, transport (1) | length (2) | addresses, TLVs
 */

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const FIXED_BYTES = 16;
/** Addresses and TLVs; balancers that pass on the client's certificate need some hundred. */
const REST_MAX_BYTES = 4_096;

const VERSION_LOCAL = 0x20;
const VERSION_PROXY = 0x21;
const TCP4 = 0x11;
const TCP6 = 0x21;
const TCP4_BYTES = 12;
const TCP6_BYTES = 36;

/**
 * Reads the header from a socket that nobody else reads; what follows it stays in the socket.
 *
 * @returns the client's address; null when the balancer speaks for itself (a health check) or over
 *   something that has no address
 * @throws Error for anything that is no header, and when the socket ends in it
 */
export async function readProxyHeader(socket: Socket): Promise<string | null> {
  const fixed = await readExactly(socket, FIXED_BYTES);
  if (!fixed.subarray(0, SIGNATURE.length).equals(SIGNATURE)) {
    throw new Error('no PROXY protocol v2 header');
  }
  const command = fixed.readUInt8(12);
  const family = fixed.readUInt8(13);
  const length = fixed.readUInt16BE(14);
  if (command !== VERSION_LOCAL && command !== VERSION_PROXY) throw new Error('not version 2');
  if (length > REST_MAX_BYTES) throw new Error('the PROXY protocol header is too long');
  const rest = length === 0 ? Buffer.alloc(0) : await readExactly(socket, length);
  if (command === VERSION_LOCAL) return null;
  return addressIn(family, rest);
}

function addressIn(family: number, rest: Buffer): string | null {
  if (family === TCP4 && rest.length >= TCP4_BYTES) return [...rest.subarray(0, 4)].join('.');
  if (family === TCP6 && rest.length >= TCP6_BYTES) {
    const words = Array.from({ length: 8 }, (_, i) => rest.readUInt16BE(2 * i).toString(16));
    return words.join(':');
  }
  if (family === TCP4 || family === TCP6) throw new Error('the PROXY protocol header is too short');
  return null;
}

function readExactly(socket: Socket, bytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const finish = () => {
      socket.removeListener('readable', look);
      socket.removeListener('end', onEnd);
      socket.removeListener('close', onEnd);
    };
    const onEnd = () => {
      finish();
      reject(new Error('ended in the PROXY protocol header'));
    };
    const look = () => {
      const read: Buffer | null = socket.read(bytes);
      // At its end a stream gives what is left, however little.
      if (read === null || read.length < bytes) return;
      finish();
      resolve(read);
    };
    socket.on('readable', look);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    look();
  });
}
