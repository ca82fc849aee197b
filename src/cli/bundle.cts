/**
 * Loads the commands, which the build has put into one file (scripts/bundle.mjs), with the code cache
 * that lies beside it: what V8 once compiled of them it need not read again, and that is half of a
 * start. V8 refuses a cache of another version or of other flags; then it compiles as always.
 */
import fs = require('node:fs');

import modules = require('node:module');

import path = require('node:path');
import vm = require('node:vm');

/** What `main.ts` exports. */
interface Commands {
  main(): Promise<void>;
  loadAll(): Promise<unknown>;
}

const file = path.join(__dirname, '../bundle/main.cjs');
const cacheFile = `${file}.cache`;

function cachedData(): Buffer | undefined {
  try {
    return fs.readFileSync(cacheFile);
  } catch {
    return undefined;
  }
}

/** The compiled file, and how to run it once. */
function compiled(): { script: vm.Script; run: () => Commands } {
  const cached = cachedData();
  const source = fs.readFileSync(file, 'utf8');
  // The names that a module of CommonJS has.
  const wrapped = `(function (exports, require, module, __filename, __dirname) {${source}\n})`;
  const options = cached === undefined ? {} : { cachedData: cached };
  const script = new vm.Script(wrapped, { filename: file, ...options });
  const run = (): Commands => {
    const module = { exports: {} as Commands };
    const start = script.runInThisContext() as (...names: unknown[]) => void;
    start.call(
      module.exports,
      module.exports,
      modules.createRequire(file),
      module,
      file,
      path.dirname(file),
    );
    return module.exports;
  };
  return { script, run };
}

/** For the build: writes the cache, of everything that the commands load, now or later. */
async function writeCache(): Promise<void> {
  const { script, run } = compiled();
  await run().loadAll();
  fs.writeFileSync(cacheFile, script.createCachedData());
}

export = { compiled, writeCache };
