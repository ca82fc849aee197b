#!/usr/bin/env node
import { CommanderError } from 'commander';
import { exitCodeOf, printError } from './edge.js';
import { createProgram } from './program.js';
import { runSsl } from './ssl.js';

// A reader that went away (`ferry status | head -1`) is no error of ours.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

try {
  if (process.argv[2] === 'ssl') await runSsl(process.argv.slice(3));
  else await createProgram().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed its message already. Help and version "fail" with 0.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    printError(error);
    process.exitCode = exitCodeOf(error);
  }
}
