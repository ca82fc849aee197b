import { Command, InvalidArgumentError } from 'commander';
import { FerryError } from '../common/errors.js';
import { whereKnown } from '../operator/routeNames.js';
import type { SkipAsk } from '../queue/asks.js';
import { operated } from '../ssl/daemons.js';
import { commandLogger, type GlobalOptions } from './options.js';
import { whileWaiting } from './progress.js';

type SkipOptions = GlobalOptions & { reason?: string; all?: boolean };

/** `ferry skip ROUTE SEQ --reason TEXT`, `ferry skip ROUTE --all --reason TEXT`. */
export function skipCommand(): Command {
  return new Command('skip')
    .description('give a blocked batch up, or all that waits for an orphaned route')
    .argument('<route>', 'a route (foo@replica), or a journal with one route')
    .argument('[seq]', 'the batch that the route is blocked at', parseSequence)
    .option('--reason <text>', 'why; kept in the audit log')
    .option('--all', 'an orphaned route: drop it, and all that waits for it')
    .action(async (name: string, seq: number | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<SkipOptions>();
      const { reason, sequence } = checked(name, seq, options);
      const { configs } = await operated(options.config);
      const { haveDone } = await import('../operator/carryOut.js');
      const log = commandLogger(options);
      const [given] = await whileWaiting(
        'waiting for the producer',
        whereKnown(configs, (config) =>
          haveDone<SkipAsk>(config, log, name, { what: 'skip', sequence, reason }),
        ),
      );
      const what =
        sequence === null
          ? `dropped, ${given.batches} batches (${given.bytes} bytes) given up`
          : `batch ${sequence} (${given.bytes} bytes) given up, kept as ${given.kept}`;
      process.stdout.write(`${given.route}: ${what}\n`);
    });
}

function parseSequence(text: string): number {
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected the number of a batch, as ferry status shows it.');
}

function checked(
  name: string,
  seq: number | undefined,
  { reason, all = false }: SkipOptions,
): { reason: string; sequence: number | null } {
  const wrong = (message: string, hint: string): FerryError =>
    new FerryError('USAGE', message, { kind: 'usage', hint });
  if (all === (seq !== undefined)) {
    throw all
      ? wrong('both SEQ and --all', 'SEQ is for a blocked batch, --all for an orphaned route')
      : wrong(
          'which batch is to be given up?',
          `ferry status shows it under NEXT: ferry skip ${name} SEQ --reason TEXT`,
        );
  }
  const text = reason?.trim() ?? '';
  if (text === '') {
    throw wrong(
      'there is no reason',
      `say why, for the audit log: ferry skip ${name} ${seq ?? '--all'} --reason "..."`,
    );
  }
  return { reason: text, sequence: seq ?? null };
}
