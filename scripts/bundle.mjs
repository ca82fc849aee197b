#!/usr/bin/env node
/**
 * Puts the compiled modules of the commands, and the packages that they use, into one file, and so
 * each program that they start. To find, read and look through 300 modules was more than half of the
 * processor time of a command's start.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { build } from 'esbuild';
import { ROOT } from './shared.mjs';

const COMPILED = join(ROOT, 'dist/src');

/** Each program that the commands start. */
const PROGRAMS = ['cli/doctorProgram.js', 'queue/embedded/keeper.js'];

/** The commands. */
const COMMANDS = 'cli/main.js';

/** The names that a module of CommonJS has. */
const MODULE_NAMES = 'exports, require, module, __filename, __dirname';

/** Strict as the modules are: what stands behind the first statement is no directive any more. */
const HEAD = `"use strict"; const urlOfBundle = require('node:url').pathToFileURL(__filename).href;`;

/** What stays outside: native code, and what is loaded seldom and reads files of its own package. */
const EXTERNAL = [
  ...['fs-native-extensions', 'msgpackr-extract', 'pino-pretty'],
  ...['hono', '@hono/*', '@bull-board/*'],
];

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

const options = {
  outdir: join(COMPILED, 'bundle'),
  entryNames: '[name]',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  // The only form of which V8 takes a code cache.
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  sourcesContent: false,
  // Names stay as they are, for stack traces. Without comments all is ASCII.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  charset: 'ascii',
  legalComments: 'external',
  external: EXTERNAL,
  define: { 'import.meta.url': 'urlOfBundle' },
  plugins: [requiredPackages],
  logLevel: 'warning',
};

await build({
  ...options,
  entryPoints: PROGRAMS.map((file) => join(COMPILED, file)),
  banner: { js: HEAD },
});
// A function, as Node makes one of each module: `bundle.cts` runs it as it is, without a copy.
await build({
  ...options,
  entryPoints: [join(COMPILED, COMMANDS)],
  banner: { js: `(function (${MODULE_NAMES}) {${HEAD}` },
  footer: { js: '})' },
});

await createRequire(import.meta.url)(join(COMPILED, 'cli/bundle.cjs')).writeCache();
