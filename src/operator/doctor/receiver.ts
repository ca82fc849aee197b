/** The receiving side: certificate and key, keys of apps, data folder, port, apply commands. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, isAbsolute, join } from 'node:path';
import { systemCode } from '../../common/errors.js';
import { isLockHeld } from '../../common/fileLock.js';
import type { FerryConfig, ReceiverApp, ReceiverConfig, ReceiverTls } from '../../config/model.js';
import { judgeValidity } from './certificate.js';
import { type Examination, type Findings, reasonOf } from './examination.js';
import { checkKeyFile, checkMode } from './keyFile.js';
import { existingAbove, exists, lackingRights, ownerHint } from './system.js';

export function receiverExaminations({ receiver }: FerryConfig): Examination[] {
  if (receiver === null) return [];
  const { listen, dataDir, apps, tls } = receiver;
  const certificate: Examination[] =
    tls === null
      ? []
      : [
          {
            check: 'receiver certificate',
            subject: tls.certFile,
            run: (findings) => checkPair(tls, findings),
          },
        ];
  return [
    ...certificate,
    { check: 'receiver data', subject: dataDir, run: (findings) => checkData(dataDir, findings) },
    {
      check: 'receiver port',
      subject: `${listen.host}:${listen.port}`,
      run: (findings) => checkPort(receiver, findings),
    },
    ...apps.map((app) => ({
      check: 'receiver key',
      subject: app.name,
      run: (findings: Findings) => checkApp(app, findings),
    })),
  ];
}

async function checkPair(tls: ReceiverTls, findings: Findings): Promise<void> {
  const check = 'receiver certificate';
  const read = async (path: string): Promise<Buffer | null> =>
    readFile(path).catch(async (error: unknown) => {
      findings.fail(
        check,
        `${path} cannot be read (${reasonOf(error)})`,
        systemCode(error) === 'ENOENT'
          ? 'set receiver.tls.cert and receiver.tls.key to PEM files'
          : await ownerHint(path).catch(() => 'correct its permissions'),
      );
      return null;
    });
  const [cert, key] = [await read(tls.certFile), await read(tls.keyFile)];
  if (cert === null || key === null) return;
  let certificate: X509Certificate;
  let fits: boolean;
  try {
    certificate = new X509Certificate(cert);
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    // OpenSSL's words could quote the file.
    findings.fail(
      check,
      'certificate or key is no PEM that can be used',
      'make them anew; both must be PEM, the key without a passphrase',
    );
    return;
  }
  if (!fits) {
    findings.fail(check, `${tls.keyFile} is not this certificate’s key`, 'use the pair');
    return;
  }
  const names = certificate.subjectAltName ?? certificate.subject;
  judgeValidity(check, `fits its key, for ${names}`, certificate, findings);
  await checkMode('receiver certificate key', tls.keyFile, findings);
}

async function checkData(dataDir: string, findings: Findings): Promise<void> {
  const check = 'receiver data';
  const isThere = await exists(dataDir);
  const place = isThere ? dataDir : await existingAbove(dataDir);
  const lacking = await lackingRights(
    place,
    isThere ? ['read', 'write', 'enter'] : ['write', 'enter'],
  );
  if (isThere && !(await stat(dataDir)).isDirectory()) {
    findings.fail(check, 'is no directory', 'name another one: data: ./received');
  } else if (lacking.length > 0) {
    findings.fail(
      check,
      `this user lacks the right to ${lacking.join(', ')}${isThere ? '' : ` in ${place}`}`,
      isThere
        ? await ownerHint(place)
        : `mkdir -m 700 ${dataDir}, and give it to the user of ferry`,
    );
  } else findings.ok(check, isThere ? 'writable' : 'will be made at the first start');
}

async function checkPort({ listen, dataDir }: ReceiverConfig, findings: Findings): Promise<void> {
  const check = 'receiver port';
  const error = await tryListen(listen);
  const code = error === null ? null : systemCode(error);
  if (code === null) findings.ok(check, 'free');
  else if (code === 'EADDRINUSE') {
    const ours = await isLockHeld(join(dataDir, 'receiver.lock'));
    if (ours === null) {
      findings.warn(
        check,
        'in use; this user may not see by whom',
        await ownerHint(dataDir).catch(() => 'run this as the user of the receiver'),
      );
    } else if (ours) findings.ok(check, 'in use, and a receiver runs with this data folder');
    else {
      findings.fail(
        check,
        'in use, and no receiver runs with this data folder',
        'end the program that has it (ss -ltnp), or choose another port',
      );
    }
  } else if (code === 'EACCES') {
    findings.fail(
      check,
      'this user may not open it',
      'choose a port above 1023, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit',
    );
  } else if (code === 'EADDRNOTAVAIL') {
    findings.fail(check, 'this machine has no such address', 'listen on 0.0.0.0, or on its own');
  } else findings.error(check, error);
}

/** Opens the port for a moment. Null: it is free. */
export function tryListen({ host, port }: ReceiverConfig['listen']): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', resolve);
    server.listen({ host, port }, () => server.close(() => resolve(null)));
  });
}

async function checkApp({ keys, apply }: ReceiverApp, findings: Findings): Promise<void> {
  for (const key of keys) await checkKeyFile('receiver key', key, findings);
  const [program] = apply ?? [];
  if (program === undefined) return;
  if (await isProgram(program)) findings.ok('receiver apply', `${program} is there`);
  else {
    findings.fail(
      'receiver apply',
      `${program} is no program that this user may run`,
      'write its absolute path, or correct its mode; batches are stored meanwhile',
    );
  }
}

async function isProgram(program: string): Promise<boolean> {
  const places = program.includes('/')
    ? [isAbsolute(program) ? program : join(process.cwd(), program)]
    : (process.env['PATH'] ?? '').split(delimiter).map((dir) => join(dir, program));
  for (const place of places) {
    const isFile = (await stat(place).catch(() => null))?.isFile() === true;
    const isAllowed = await access(place, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isFile && isAllowed) return true;
  }
  return false;
}
