import { statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { asError, FerryError, systemCode } from '../common/errors.js';
import { Haste } from '../common/haste.js';
import type { Secret, WireDestination } from '../config/model.js';
import type { Endpoint } from '../protocol/endpoint.js';

/** Where OpenSSL's default store is on the systems we know; bin/ssl trusts what is in it. */
const SYSTEM_CA_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

const NEWLINE = 0x0a;

interface CachedFile {
  stamp: string;
  bytes: Buffer;
}
const files = new Map<string, CachedFile>();
const haste = new Haste();
/** Longer than the step of any file system's clock that we know: FAT's is 2 s. */
const YOUNG_FILE_MS = 3_000;

/**
 * Resolves a destination for one attempt on one journal: key file, host file and certificates are
 * looked at afresh (an operator replaces them without telling us).
 *
 * @param journal the name that `{journal}` in the url stands for
 * @throws FerryError KEY_FILE_MISSING, KEY_WITHOUT_NEWLINE, HOST_FILE_MISSING, CA_FILE_MISSING
 */
export async function resolveEndpoint(
  destination: WireDestination,
  journal: string,
): Promise<Endpoint> {
  const { dialect } = destination;
  const [host, key, trust] = await Promise.all([
    readHost(destination),
    readKey(destination.key, destination.name),
    readTrust(destination),
  ]);
  return {
    name: destination.name,
    host,
    port: destination.port,
    ...(destination.hostHeader === undefined ? {} : { hostHeader: destination.hostHeader }),
    url: destination.url.replaceAll('{journal}', () => encodeURIComponent(journal)),
    key,
    dialect,
    confirm: destination.confirm,
    tls: trust,
    timeouts: destination.timeouts,
  };
}

/**
 * Whom a destination's connections believe, and as whom they come.
 *
 * @throws FerryError CA_FILE_MISSING, CLIENT_CERTIFICATE_MISSING
 */
export async function readTrust({ name, tls }: WireDestination): Promise<Endpoint['tls']> {
  const [ca, extraCa, cert, key] = await Promise.all([
    tls.caFile === null ? null : readCertificates(tls.caFile, name),
    tls.verify && tls.caFile === null ? readExtraCa(name) : null,
    tls.certFile === null ? null : readClientFile(tls.certFile, name),
    tls.keyFile === null ? null : readClientFile(tls.keyFile, name),
  ]);
  const client = cert === null || key === null ? null : { cert, key };
  return { verify: tls.verify, ca, extraCa, servername: tls.servername, client };
}

/**
 * A host with "/" is a file whose first line is the address, as bin/ssl has it.
 *
 * @throws FerryError HOST_FILE_MISSING
 */
export async function readHost(destination: WireDestination): Promise<string> {
  if (!destination.host.includes('/')) return destination.host;
  const path = destination.host;
  const text = await readCached(path).catch((error: unknown) => {
    throw missing('HOST_FILE_MISSING', `the host file ${path}`, destination.name, error);
  });
  const address = text.toString('utf8').split('\n', 1)[0]?.trim() ?? '';
  if (address === '') {
    throw new FerryError('HOST_FILE_MISSING', `the host file ${path} has an empty first line`, {
      kind: 'destination',
      hint: 'write the address of the server into its first line',
      context: { destination: destination.name },
    });
  }
  return address;
}

/**
 * The key's bytes, to be sent verbatim.
 *
 * @throws FerryError KEY_FILE_MISSING, KEY_WITHOUT_NEWLINE
 */
export async function readKey(secret: Secret, destination: string): Promise<Buffer> {
  const key =
    'text' in secret
      ? Buffer.from(secret.text.endsWith('\n') ? secret.text : `${secret.text}\n`)
      : await readCached(secret.file).catch((error: unknown) => {
          throw missing('KEY_FILE_MISSING', `the key file ${secret.file}`, destination, error);
        });
  if (key.at(-1) !== NEWLINE) {
    throw new FerryError('KEY_WITHOUT_NEWLINE', 'the key file does not end in a newline', {
      kind: 'destination',
      hint: 'the server would wait for the rest of the line for ever: add a newline to the key file',
      context: { destination },
    });
  }
  return key;
}

/**
 * What is trusted beside Node's own roots: `SSL_CERT_FILE`, else the system's store; null for none.
 *
 * @throws FerryError CA_FILE_MISSING
 */
export async function readExtraCa(destination: string): Promise<Buffer | null> {
  const named = process.env['SSL_CERT_FILE'];
  if (named !== undefined && named !== '') return readCertificates(named, destination);
  for (const path of SYSTEM_CA_FILES) {
    const bytes = await readCached(path).catch(() => null);
    if (bytes !== null) return bytes;
  }
  return null;
}

function readCertificates(path: string, destination: string): Promise<Buffer> {
  return readCached(path).catch((error: unknown) => {
    throw missing('CA_FILE_MISSING', `the CA file ${path}`, destination, error);
  });
}

function readClientFile(path: string, destination: string): Promise<Buffer> {
  return readCached(path).catch((error: unknown) => {
    const what = `the client certificate or key ${path}`;
    throw missing('CLIENT_CERTIFICATE_MISSING', what, destination, error);
  });
}

/**
 * What is in the file now. The same Buffer as long as the file is the same, so that its TLS context
 * is found again, and a stat is all it costs. Of a file that was changed a moment ago a stat cannot
 * say that it has not been changed again since, at the same size: that is read each time.
 *
 * There are several such looks for each connection, so they are made at once while the disk is quick.
 */
async function readCached(path: string): Promise<Buffer> {
  const { mtimeMs, ctimeMs, size, ino } = await haste.run(
    () => statSync(path),
    () => stat(path),
  );
  const stamp = `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  const known = files.get(path);
  if (known?.stamp === stamp) return known.bytes;
  const bytes = await readFile(path);
  if (Date.now() - Math.max(mtimeMs, ctimeMs) > YOUNG_FILE_MS) files.set(path, { stamp, bytes });
  return bytes;
}

function missing(code: string, what: string, destination: string, error: unknown): FerryError {
  const why = systemCode(error) ?? asError(error).message;
  return new FerryError(code, `${what} cannot be read (${why})`, {
    kind: 'destination',
    hint: 'create it, or correct its path and permissions; it is read again for every connection',
    context: { destination },
    cause: error,
  });
}
