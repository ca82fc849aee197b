import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestCerts {
  /** Holds everything below, in the system's temp folder; removed when the process exits. */
  folder: string;
  caFile: string;
  ca: Buffer;
  certFile: string;
  keyFile: string;
  cert: Buffer;
  key: Buffer;
  /** Key and certificate in one file, as httpGate likes them. */
  pemFile: string;
}

let made: TestCerts | null = null;

/**
 * A P-256 authority and a certificate of it for localhost and 127.0.0.1, made once per process
 * with the `openssl` command (Debian, macOS and every CI image have it).
 */
export function testCerts(): TestCerts {
  made ??= makeCerts({ names: 'DNS:localhost,IP:127.0.0.1,IP:::1', days: 30 });
  return made;
}

/** Another authority's certificate: for other names, or (`days: 0`) already over. */
export function makeCerts(options: { names: string; days: number }): TestCerts {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-certs-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  const run = (...args: string[]) => {
    try {
      execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (error) {
      throw new Error(`openssl ${args[0]} failed; is the openssl command installed?`, {
        cause: error,
      });
    }
  };
  const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const caCert = ['-x509', '-days', '30', '-subj', '/CN=ferry test authority'];
  run('req', ...p256, ...caCert, '-keyout', 'ca.key', '-out', 'ca.pem');
  run('req', ...p256, '-subj', '/CN=ferry test', '-keyout', 'key.pem', '-out', 'request.pem');
  writeFileSync(at('extensions'), `subjectAltName=${options.names}\nbasicConstraints=CA:FALSE\n`);
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
  if (options.days > 0) {
    const out = ['-in', 'request.pem', '-out', 'cert.pem', '-extfile', 'extensions'];
    run('x509', '-req', ...out, ...signed, '-days', String(options.days));
  } else {
    // `openssl ca` is the one command of OpenSSL 3.0 that takes dates of the past.
    writeFileSync(at('ca.conf'), caConf(folder));
    writeFileSync(at('index.txt'), '');
    writeFileSync(at('serial'), '01\n');
    const dates = ['-startdate', '20200101000000Z', '-enddate', '20200102000000Z'];
    const files = ['-in', 'request.pem', '-out', 'cert.pem', '-extfile', 'extensions'];
    run('ca', '-batch', '-notext', '-config', 'ca.conf', ...dates, ...files);
  }
  const cert = readFileSync(at('cert.pem'));
  const key = readFileSync(at('key.pem'));
  writeFileSync(at('both.pem'), Buffer.concat([key, cert]), { mode: 0o600 });
  return {
    folder,
    caFile: at('ca.pem'),
    ca: readFileSync(at('ca.pem')),
    certFile: at('cert.pem'),
    keyFile: at('key.pem'),
    cert,
    key,
    pemFile: at('both.pem'),
  };
}

function caConf(folder: string): string {
  return `[ca]
default_ca = here
[here]
database = ${folder}/index.txt
serial = ${folder}/serial
new_certs_dir = ${folder}
certificate = ${folder}/ca.pem
private_key = ${folder}/ca.key
default_md = sha256
policy = any
[any]
commonName = supplied
`;
}
