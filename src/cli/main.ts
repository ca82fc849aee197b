#!/usr/bin/env node
import { exitCodeOf, printError } from './edge.js';

// A reader that went away (`ferry status | head -1`) is no error of ours.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

try {
  // Loaded only now: bin/ssl's short calls come from scripts and loops.
  if (process.argv[2] === 'ssl') await (await import('./ssl.js')).runSsl(process.argv.slice(3));
  else await (await import('./program.js')).createProgram().parseAsync(process.argv);
} catch (error) {
  const { CommanderError } = await import('commander');
  if (error instanceof CommanderError) {
    // Commander has printed its message already. Help and version "fail" with 0.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    printError(error);
    process.exitCode = exitCodeOf(error);
  }
}
