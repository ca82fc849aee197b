/**
 * Loads the commands, which the build has put into one file (scripts/bundle.mjs), with the code cache
 * that lies beside it: what V8 once compiled of them it need not read again, and that is half of a
 * start. V8 runs what a cache holds as long as the file is as long as it was; so a stamp in front of it
 * says of which file, which Node and which processor it is. Another one is left alone, and everything
 * is compiled as always.
 */
import crypto = require('node:crypto');

import fs = require('node:fs');

import modules = require('node:module');

import path = require('node:path');
import vm = require('node:vm');

/** What `main.ts` exports. */
interface Commands {
  main(): Promise<void>;
  loadAll(): Promise<unknown>;
}

const STAMP_BYTES = 32;

const file = path.join(__dirname, '../bundle/main.cjs');
const cacheFile = `${file}.cache`;

/** SHA-256 of all that must be the same, the cache itself included: 5 ms for 6 MB. */
function stampOf(source: Buffer, cache: Buffer): Buffer {
  const hash = crypto.createHash('sha256').update(`${process.version} ${process.arch}\n`);
  return hash.update(source).update(cache).digest();
}

function cacheOf(source: Buffer): Buffer | undefined {
  try {
    const stamped = fs.readFileSync(cacheFile);
    const cache = stamped.subarray(STAMP_BYTES);
    return stampOf(source, cache).equals(stamped.subarray(0, STAMP_BYTES)) ? cache : undefined;
  } catch {
    return undefined;
  }
}

/** The compiled file, and how to run it once. */
function compiled(): { source: Buffer; script: vm.Script; run: () => Commands } {
  const source = fs.readFileSync(file);
  const cachedData = cacheOf(source);
  const options = cachedData === undefined ? {} : { cachedData };
  // It is ASCII: nothing is to be decoded, and V8 keeps a byte per character and not two.
  const script = new vm.Script(source.toString('latin1'), { filename: file, ...options });
  const run = (): Commands => {
    const module = { exports: {} as Commands };
    const start = script.runInThisContext() as (...names: unknown[]) => void;
    const require = modules.createRequire(file);
    start.call(module.exports, module.exports, require, module, file, path.dirname(file));
    return module.exports;
  };
  return { source, script, run };
}

/**
 * For the build: writes the cache, of everything that the commands load, now or later.
 *
 * @throws Error when the file is not ASCII
 */
async function writeCache(): Promise<void> {
  const { source, script, run } = compiled();
  if (source.some((byte) => byte > 0x7f)) throw new Error(`${file} is not ASCII`);
  await run().loadAll();
  const cache = script.createCachedData();
  fs.writeFileSync(cacheFile, Buffer.concat([stampOf(source, cache), cache]));
}

export = { compiled, writeCache };
