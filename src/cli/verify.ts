import { Command, InvalidArgumentError } from 'commander';
import { FerryError } from '../common/errors.js';
import { whereKnown } from '../operator/routeNames.js';
import { operated } from '../ssl/daemons.js';
import { type ChainLine, parseLine } from '../verify/chainLine.js';
import type { ReceivedProof, SentProof } from '../verify/report.js';
import { commandLogger, type GlobalOptions, useColor } from './options.js';
import { progressOn } from './progress.js';
import { renderReceived, renderSent } from './verifyText.js';

type VerifyOptions = GlobalOptions & {
  json?: boolean;
  received?: string;
  expect: string[];
  removed?: number;
  /** False with `--no-archive`. */
  archive: boolean;
};

const shown = progressOn(process.stderr);

/** `ferry verify [ROUTE]`, `ferry verify --received DIR [APP]`. Exit code 1 on a difference. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('prove that what was captured is confirmed or waits, digest by digest')
    .argument('[name]', 'a route, a journal or a glob; with --received an app. Default: all')
    .option('--received <dir>', 'check what a receiver of ours stored in this folder')
    .option('--expect <line>', 'a line that the other side printed; may be repeated', collect, [])
    .option('--removed <number>', 'with --received: batches up to it were removed', parseNumber)
    .option('--no-archive', 'leave the archive of delivered batches out')
    .option('--json', 'print the versioned JSON contract')
    .action(async (name: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<VerifyOptions>();
      const expect = options.expect.map(parseLine);
      const proof = await (options.received === undefined
        ? verifySender(name ?? null, expect, options)
        : verifyReceiver(options.received, name ?? null, expect, options));
      const color = useColor(options, process.stdout);
      const text = 'apps' in proof ? renderReceived(proof, color) : renderSent(proof, color);
      process.stdout.write(options.json === true ? `${JSON.stringify(proof)}\n` : text);
      if (!proof.ok) process.exitCode = 1;
    });
}

async function verifySender(
  name: string | null,
  expect: readonly ChainLine[],
  options: VerifyOptions,
): Promise<SentProof> {
  const { configs, areDaemons } = await operated(options.config);
  if (name === null && expect.length > 0 && configs.length > 1) {
    throw new FerryError('EXPECT_AMBIGUOUS', 'which route is that line to be compared with?', {
      kind: 'usage',
      hint: 'name it: ferry verify ROUTE --expect LINE',
    });
  }
  // Loaded only now: `ferry --help` and a wrong configuration need no queue.
  const { joined, verifySent } = await import('../verify/sent.js');
  const log = commandLogger(options);
  const { archive } = options;
  const proofs = await whereKnown(configs, (config) =>
    verifySent(config, log, { name, expect, archive, isDaemon: areDaemons, progress: shown }),
  );
  return joined(proofs);
}

async function verifyReceiver(
  folder: string,
  app: string | null,
  expect: readonly ChainLine[],
  { removed = 0 }: VerifyOptions,
): Promise<ReceivedProof> {
  const { verifyReceived } = await import('../verify/received.js');
  return verifyReceived(folder, { app, expect, removed, progress: shown });
}

function collect(line: string, before: string[]): string[] {
  return [...before, line];
}

function parseNumber(text: string): number {
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected the number of a batch in the receiver’s folder.');
}
