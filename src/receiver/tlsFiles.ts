import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { FerryError, systemCode } from '../common/errors.js';
import type { ReceiverTls } from '../config/model.js';

/** What the TLS files hold; PEM. P-256 is 30 times cheaper to sign with than RSA-2048. */
export interface TlsFiles {
  cert: Buffer;
  key: Buffer;
  /** Null: clients need no certificate. */
  clientCa: Buffer | null;
}

/**
 * Reads the files and makes sure that they work together.
 * @throws FerryError TLS_FILE_MISSING, TLS_FILES_INVALID
 */
export async function readTlsFiles(tls: ReceiverTls): Promise<TlsFiles> {
  const files: TlsFiles = {
    cert: await readTlsFile('certificate', tls.certFile),
    key: await readTlsFile('key', tls.keyFile),
    clientCa: tls.clientCaFile === null ? null : await readTlsFile('client CA', tls.clientCaFile),
  };
  try {
    createSecureContext(contextOptions(files));
  } catch (error) {
    throw new FerryError('TLS_FILES_INVALID', 'certificate and key do not load', {
      kind: 'usage',
      hint: 'all must be PEM, and the key must be the certificate’s',
      cause: error,
    });
  }
  return files;
}

/** The files as Node's options. */
export function contextOptions({ cert, key, clientCa }: TlsFiles): SecureContextOptions {
  return { cert, key, minVersion: 'TLSv1.2', ...(clientCa === null ? {} : { ca: clientCa }) };
}

async function readTlsFile(what: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new FerryError(
      'TLS_FILE_MISSING',
      `the receiver’s ${what} ${path} cannot be read (${systemCode(error)})`,
      {
        kind: 'usage',
        hint: 'set receiver.tls.cert and receiver.tls.key to PEM files this user may read',
        cause: error,
      },
    );
  }
}
