#!/usr/bin/env node
/**
 * Puts the compiled modules of the commands, and the packages that they use, into a few files. To
 * find, read and look through 300 modules was more than half of the processor time of a command's start.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { ROOT } from './shared.mjs';

/** What stays outside: native code, and what is loaded seldom and reads files of its own package. */
const EXTERNAL = [
  ...['fs-native-extensions', 'msgpackr-extract', 'pino-pretty'],
  ...['hono', '@hono/*', '@bull-board/*'],
];

/** Packages of CommonJS ask for Node's own modules with `require`, which a module does not have. */
const REQUIRE = `import { createRequire as createRequireOfBundle } from 'node:module';
const require = createRequireOfBundle(import.meta.url);`;

/** Our modules load two packages with `createRequire`, at run time. Here they are to be included. */
const requiredPackages = {
  name: 'required packages',
  setup(to) {
    to.onLoad({ filter: /[/\\]queue[/\\](bullmq|ioredis)\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(
        /createRequire\(import\.meta\.url\)(?=\(')/,
        'require',
      ),
    }));
  },
};

/** The commands, and each program that they start. */
const PROGRAMS = ['cli/main.js', 'cli/doctorProgram.js', 'queue/embedded/keeper.js'];

const COMPILED = join(ROOT, 'dist/src');

await build({
  entryPoints: PROGRAMS.map((file) => join(COMPILED, file)),
  outdir: join(COMPILED, 'bundle'),
  entryNames: '[name]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  sourcesContent: false,
  external: EXTERNAL,
  banner: { js: REQUIRE },
  plugins: [requiredPackages],
  logLevel: 'warning',
});
