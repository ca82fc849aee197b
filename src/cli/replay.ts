import { createInterface } from 'node:readline/promises';
import { Command, InvalidArgumentError } from 'commander';
import { FerryError } from '../common/errors.js';
import { whereKnown } from '../operator/routeNames.js';
import type { ReplayAsk, Replayed } from '../queue/asks.js';
import { operated } from '../ssl/daemons.js';
import { formatBytes } from './format.js';
import { commandLogger, type GlobalOptions } from './options.js';
import { whileWaiting } from './progress.js';

interface ReplayOptions extends GlobalOptions {
  from?: number;
  to?: number;
  with?: number[];
  stop?: boolean;
  yes?: boolean;
}

/** A producer reads what it is to send at no less than this, while its command waits. */
const READ_BYTES_PER_MS = 20_000;

/**
 * `ferry replay ROUTE [SEQ]`: fresh attempts for its head, now.
 * `ferry replay ROUTE --from SEQ [--to SEQ]`: delivered batches go out once more.
 */
export function replayCommand(): Command {
  return new Command('replay')
    .description(
      'give a blocked batch fresh attempts, now; with --from, send delivered batches again',
    )
    .argument('<route>', 'a route (foo@replica), a journal with one route, or a glob')
    .argument('[seq]', 'only if the route is at this batch', sequence)
    .option('--from <seq>', 'send again what was delivered, from this batch on', sequence)
    .option('--to <seq>', 'through this one; default: the last delivered one', sequence)
    .option('--with <seq>', 'a given-up batch that is to be sent, too; may be repeated', list)
    .option('--stop', 'end the replay that goes on')
    .option('--yes', 'do not ask')
    .action(async (name: string, seq: number | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<ReplayOptions>();
      checkWords(name, seq, options);
      if (options.from === undefined && !options.stop) return retry(name, seq, options);
      return replay(name, options);
    });
}

async function retry(
  pattern: string,
  seq: number | undefined,
  options: ReplayOptions,
): Promise<void> {
  const { configs } = await operated(options.config);
  const { applyVerdict } = await import('../operator/verdicts.js');
  const log = commandLogger(options);
  const routes = await whereKnown(configs, (config) =>
    applyVerdict(config, log, 'replay', pattern, seq === undefined ? {} : { sequence: seq }),
  );
  for (const route of routes.flat()) process.stdout.write(`${route}: tried again\n`);
}

async function replay(name: string, options: ReplayOptions): Promise<void> {
  const { configs } = await operated(options.config);
  const { haveDone } = await import('../operator/carryOut.js');
  const log = commandLogger(options);
  const wish = {
    what: 'replay' as const,
    from: options.from ?? null,
    to: options.to ?? null,
    named: options.with ?? [],
  };
  const say = (dry: boolean, patienceMs = 0) =>
    whileWaiting(
      'waiting for the producer',
      whereKnown(configs, (config) =>
        haveDone<ReplayAsk>(config, log, name, { ...wish, dry }, { patienceMs }),
      ),
    );
  const [plan] = await say(true);
  process.stdout.write(described(plan, wish.from === null));
  if (!options.yes && !(await agreed(wish.from === null ? 'End it?' : 'Send them?'))) {
    process.stdout.write('nothing was changed\n');
    process.exitCode = 1;
    return;
  }
  const [done] = await say(false, plan.bytes / READ_BYTES_PER_MS);
  process.stdout.write(
    wish.from === null
      ? `${done.route}: the replay is ended\n`
      : `${done.route}: replaying ${done.batches} batches; ferry status shows how far it is\n`,
  );
}

function described(plan: Replayed & { route: string }, stop: boolean): string {
  const { route, from, to, batches, bytes, leftOut, waiting } = plan;
  const size = `${batches} batches, ${formatBytes(bytes)}`;
  const lines = stop
    ? [
        `${route}: the replay has come to batch ${from} of ${to}; ${size} would not be sent`,
        '  a PicoLisp replica that got only a part of them is damaged',
      ]
    : [
        `${route}: batches ${from} to ${to} go out again, in order: ${size}`,
        `  captured from ${time(plan.firstSealedAtMs)} to ${time(plan.lastSealedAtMs)}`,
        '  nothing is missing; blobs are not sent again',
        ...(leftOut > 0 ? [`  ${leftOut} that were given up are left out (--with SEQ)`] : []),
        ...(waiting > 0 ? [`  ${waiting} new ones wait behind them`] : []),
      ];
  return `${lines.join('\n')}\n`;
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** @throws FerryError REPLAY_NOT_CONFIRMED where nobody can be asked */
async function agreed(question: string): Promise<boolean> {
  if (process.stdin.isTTY !== true) {
    throw new FerryError('REPLAY_NOT_CONFIRMED', 'nothing was changed: there is nobody to ask', {
      kind: 'usage',
      hint: 'say it again with --yes',
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // Whoever presses ^C or ^D has not agreed.
  const gone = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
  try {
    const answer = await Promise.race([terminal.question(`${question} [y/N] `), gone]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

function sequence(text: string): number {
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected the number of a batch, as ferry status shows it.');
}

function list(text: string, before: number[] = []): number[] {
  return [...before, sequence(text)];
}

function checkWords(
  name: string,
  seq: number | undefined,
  { from, to, stop, with: named }: ReplayOptions,
): void {
  const wrong = (message: string, hint: string): FerryError =>
    new FerryError('USAGE', message, { kind: 'usage', hint });
  if (seq !== undefined && (from !== undefined || stop)) {
    throw wrong(
      'both SEQ and a range',
      `a range is --from SEQ [--to SEQ]: ferry replay ${name} --from ${seq}`,
    );
  }
  if (from !== undefined && stop) throw wrong('both --from and --stop', 'one at a time');
  if (from === undefined && (to !== undefined || named !== undefined)) {
    throw wrong('--to and --with belong to --from', `ferry replay ${name} --from SEQ`);
  }
}
