import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Script } from 'node:vm';
import { FERRY } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
};

function versionOf(ferry: string, flags: readonly string[] = []): string {
  return execFileSync(process.execPath, [...flags, ferry, '--version'], { encoding: 'utf8' });
}

/** What `ferry` loads itself with; undefined as `cachedDataRejected`: it was given no cache. */
function loaderOf(ferry: string): { compiled(): { script: Script } } {
  return createRequire(import.meta.url)(join(ferry, '../bundle.cjs'));
}

describe('the bundle of the commands', () => {
  it('is loaded with the code cache of its build', () => {
    assert.equal(loaderOf(FERRY).compiled().script.cachedDataRejected, false);
  });

  it('is compiled as always where the cache is one of other flags, damaged, or not there', () => {
    assert.equal(versionOf(FERRY, ['--no-opt']), `${version}\n`);

    const copy = join(tempDir(), 'copy');
    mkdirSync(join(copy, 'dist'), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'));
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    for (const part of ['bundle', 'cli']) {
      cpSync(join(ROOT, 'dist/src', part), join(copy, 'dist/src', part), { recursive: true });
    }
    const ferry = join(copy, 'dist/src/cli/ferry.cjs');
    const cache = join(copy, 'dist/src/bundle/main.cjs.cache');
    const whole = readFileSync(cache);
    for (const content of [whole.subarray(0, whole.length >> 1), Buffer.from('none'), '']) {
      writeFileSync(cache, content);
      assert.equal(versionOf(ferry), `${version}\n`);
    }
    // V8 itself would take both of these, and run what they say.
    const flipped = Buffer.from(whole);
    flipped[flipped.length >> 1] = (flipped[flipped.length >> 1] ?? 0) ^ 1;
    writeFileSync(cache, flipped);
    assert.equal(loaderOf(ferry).compiled().script.cachedDataRejected, undefined);
    writeFileSync(cache, whole);
    assert.equal(loaderOf(ferry).compiled().script.cachedDataRejected, false);
    const main = join(copy, 'dist/src/bundle/main.cjs');
    const source = readFileSync(main);
    source[source.indexOf('Ships what databases append')] = 's'.charCodeAt(0);
    writeFileSync(main, source);
    assert.equal(loaderOf(ferry).compiled().script.cachedDataRejected, undefined);
    rmSync(cache);
    assert.equal(versionOf(ferry), `${version}\n`);
  });
});
