import { exitCodeOf, printError } from './edge.js';

/** Runs the command that the words of this process name. Never rejects: sets the exit code. */
export async function main(): Promise<void> {
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
}

/** What commands load when they need it, all at once: for the code cache (`bundle.cts`). */
export function loadAll(): Promise<unknown> {
  return Promise.all([
    import('./ssl.js'),
    import('./program.js'),
    import('./pipeline.js'),
    import('./metrics.js'),
    import('../producers/producer.js'),
    import('../workers/worker.js'),
    import('../receiver/receiver.js'),
    import('../status/status.js'),
    import('../status/batches.js'),
    import('../operator/verdicts.js'),
    import('../operator/carryOut.js'),
    import('../ssl/daemon.js'),
    import('../ssl/transfer.js'),
    import('../verify/sent.js'),
  ]);
}
