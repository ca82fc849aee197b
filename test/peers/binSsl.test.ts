import assert from 'node:assert/strict';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { TestReceiver } from '../receiver/harness.js';
import { testCerts } from '../support/certs.js';
import { failOnLeaks } from '../support/leaks.js';
import { BIN_SSL, Writer } from '../support/picolisp.js';
import { start, until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const receiver = await new TestReceiver().start();
const writer = await Writer.start();
const folder = tempDir();
const blobs = join(folder, 'blobs');
mkdirSync(blobs);

after(async () => {
  await writer.stop();
  await receiver.stop();
});
failOnLeaks();

const keyFile = (): string => receiver.config.apps[0]?.keys[0] ?? '';
const size = (path: string): number => statSync(path).size;

describe('the real bin/ssl and our receiver', () => {
  test('a shipped journal is equal, byte for byte, and so are the blobs', async () => {
    const written: Buffer[] = [];
    await writer.commit(10, 100);
    written.push(readFileSync(writer.journal));
    const content = Buffer.alloc(300_000, 'blob');
    mkdirSync(join(blobs, '1'));
    writeFileSync(join(blobs, '1/2.pic'), content);
    symlinkSync('1/2.pic', join(blobs, '=12.pic'));
    symlinkSync('1/none', join(blobs, '=13.pic'));

    // A trailing `+` keeps it in the foreground, so that it is ours to end.
    const address = ['localhost', String(receiver.port), 'foo.r/!replica', keyFile()];
    const daemon = start(BIN_SSL, [...address, writer.journal, `${blobs}/`, '1', '0', '+'], {
      env: { SSL_CERT_FILE: testCerts().caFile },
    });
    await until('the journal is empty', () => size(writer.journal) === 0);
    await until('the links are gone', () => readdirSync(blobs).every((name) => name === '1'));
    // Asleep while we look, or it may have emptied the journal before us.
    daemon.signal('SIGSTOP');
    await writer.commit(2_000, 500);
    written.push(readFileSync(writer.journal));
    daemon.signal('SIGCONT');
    await until('the journal is empty again', () => size(writer.journal) === 0);
    await daemon.kill('SIGTERM');

    const expected = Buffer.concat(written);
    const arrived = Buffer.from(receiver.batches().join(''), 'latin1');
    assert.ok(arrived.equals(expected), `${arrived.length} of ${expected.length} bytes`);
    assert.equal(receiver.batches().length, 2);
    assert.equal(receiver.blob('1/2.pic'), content.toString('latin1'));
    assert.deepEqual(receiver.parts(), []);
  });

  test('with a wrong key it keeps its journal and its links', async () => {
    const wrong = join(folder, 'wrong');
    writeFileSync(wrong, 'another key\n');
    const journal = join(folder, 'journal');
    writeFileSync(journal, 'unsent');
    symlinkSync('1/2.pic', join(blobs, '=14.pic'));
    const before = receiver.batches().length;
    const address = ['localhost', String(receiver.port), 'foo.r/!replica', wrong];
    const daemon = start(BIN_SSL, [...address, journal, `${blobs}/`, '1', '0', '+'], {
      env: { SSL_CERT_FILE: testCerts().caFile },
    });
    await until('both were refused', () => {
      return receiver.refusals.filter((reason) => reason === 'wrong-key').length >= 2;
    });
    await daemon.kill('SIGTERM');
    assert.equal(readFileSync(journal, 'latin1'), 'unsent');
    assert.equal(readlinkSync(join(blobs, '=14.pic')), '1/2.pic');
    assert.equal(receiver.batches().length, before);
  });
});
