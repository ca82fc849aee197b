import { Command, Option } from 'commander';
import { whereKnown } from '../operator/routeNames.js';
import { operated } from '../ssl/daemons.js';
import type { BatchListing } from '../status/batches.js';
import { BATCH_STATES, type BatchState } from '../status/batchReport.js';
import { type BatchesFormat, batchesHead, batchLine } from './batchesTable.js';
import { commandLogger, type GlobalOptions, useColor } from './options.js';
import { writeAll } from './output.js';
import { whileWaiting } from './progress.js';

type BatchesOptions = GlobalOptions & { state?: BatchState; json?: boolean };

/** `ferry batches [ROUTE] [--state S] [--json]`. */
export function batchesCommand(): Command {
  return new Command('batches')
    .description('the batches that Redis, the spool and the archive know')
    .argument('[route]', 'a route (foo@replica), a journal, or a glob; default: all')
    .addOption(new Option('--state <state>', 'only those in this state').choices(BATCH_STATES))
    .option('--json', 'print the versioned JSON contract')
    .action(async (route: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<BatchesOptions>();
      const { configs, areDaemons } = await operated(options.config);
      const log = commandLogger(options);
      // Loaded only now: `ferry --help` and a wrong configuration need no queue.
      const { listBatches } = await import('../status/batches.js');
      const question = { pattern: route ?? null, state: options.state ?? null };
      const listings = await whileWaiting(
        'reading spools and Redis',
        whereKnown(configs, (config) =>
          listBatches(config, log, question, { isDaemon: areDaemons }),
        ),
      );
      const texts =
        options.json === true
          ? asJson(listings)
          : asTable(listings, useColor(options, process.stdout));
      await writeAll(process.stdout, texts);
    });
}

async function* asTable(
  listings: readonly [BatchListing, ...BatchListing[]],
  color: boolean,
): AsyncGenerator<string> {
  const routes = listings.flatMap((listing) => listing.routes);
  const format: BatchesFormat = {
    color,
    routeWidth: Math.max('ROUTE'.length, ...routes.map((name) => name.length)),
  };
  yield batchesHead(redisOf(listings), format);
  for (const listing of listings) {
    for await (const batch of listing.batches()) yield batchLine(batch, format);
  }
}

/** One object, written piece by piece: nobody holds all of it. */
async function* asJson(
  listings: readonly [BatchListing, ...BatchListing[]],
): AsyncGenerator<string> {
  yield `{"version":1,"redis":${JSON.stringify(redisOf(listings))},"batches":[`;
  let separator = '';
  for (const listing of listings) {
    for await (const batch of listing.batches()) {
      yield `${separator}${JSON.stringify(batch)}`;
      separator = ',\n';
    }
  }
  yield ']}\n';
}

function redisOf(listings: readonly [BatchListing, ...BatchListing[]]): BatchListing['redis'] {
  return (listings.find(({ redis }) => !redis.ok) ?? listings[0]).redis;
}
