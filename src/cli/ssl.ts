import { asError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import { NO_PROGRESS } from '../common/progress.js';
import { type DaemonCall, maskedWords, parseSslCall, USAGE } from '../ssl/arguments.js';
import { dialectOf } from '../ssl/dialect.js';
import { DAEMON_VARIABLE } from '../ssl/places.js';
import { formatError } from './edge.js';
import type { Running } from './runRole.js';
import type { StartNews } from './sslChild.js';

const HELP = `Usage: ferry ssl ${USAGE}
       ferry ssl --explain ARGS

bin/ssl's command line, argument for argument; also installed as ferry-ssl.
  two words        standard input to TLS, TLS to standard output
  three to five    GET, then up to two files (-TEXT: the text itself, -: standard input)
  seven and more   a daemon that ships a journal and its blobs
A "-" before the port: no certificate check. A "+" at the end: more is said, in the foreground.
--explain prints the ferry.yaml that does the same.

Environment: FERRY_STATE, REDIS_URL, FERRY_DIALECT=acked|eof, SSL_CERT_FILE
`;

/**
 * `ferry ssl ARGS`. Not one of commander's commands: its words are bin/ssl's, and none is an
 * option. The exit code is bin/ssl's too: 1 for whatever is wrong.
 */
export async function runSsl(words: readonly string[]): Promise<void> {
  try {
    if (words.length === 1 && (words[0] === '--help' || words[0] === '-h')) {
      process.stdout.write(HELP);
    } else if (words[0] === '--explain') {
      const { explain } = await import('../ssl/explain.js');
      const options = { directory: process.cwd(), dialect: dialectOf(process.env) };
      process.stdout.write(explain(words.slice(1), options));
    } else if (process.env[DAEMON_VARIABLE] === '1' && process.send !== undefined) {
      await runChild();
    } else {
      await runCall(words);
    }
  } catch (error) {
    process.stderr.write(formatSslError(error));
    process.exitCode = 1;
  }
}

function formatSslError(error: unknown): string {
  return formatError(error, process.stderr.isTTY === true && !process.env['NO_COLOR']);
}

async function runCall(words: readonly string[]): Promise<void> {
  const call = parseSslCall(words);
  if (call.kind === 'transfer') {
    const { transfer } = await import('../ssl/transfer.js');
    await transfer(call, process);
    return;
  }
  const { withKeyRead } = await import('../ssl/daemon.js');
  const ready = await withKeyRead(call, process.stdin);
  process.title = titleOf(words);
  if (call.debug) {
    const format = process.stderr.isTTY === true ? 'pretty' : 'json';
    const { createLogger } = await import('../common/logger.js');
    const logger = createLogger({ level: 'debug', format, color: true, destination: 2 });
    await runDaemon(
      ready,
      (news) => printPid(call, news),
      () => logger,
    );
    return;
  }
  const { startInBackground } = await import('./sslChild.js');
  const news = await startInBackground(words, ready);
  if (news.is === 'failed') {
    process.stderr.write(news.message);
    process.exitCode = 1;
    return;
  }
  printPid(call, news);
  if (news.is === 'slow') process.stderr.write(news.message);
}

/** The daemon itself, in the background: its words come from its parent, its log is a file. */
async function runChild(): Promise<void> {
  const { tellParent, wordsOfParent } = await import('./sslChild.js');
  const { words, call } = await wordsOfParent();
  process.title = titleOf(words);
  const { keepLogSmall, openLog } = await import('../ssl/logFile.js');
  const { createLogger } = await import('../common/logger.js');
  try {
    await runDaemon(call, tellParent, ({ stateDir, name }) => {
      const log = openLog(stateDir, `${name}.log`);
      keepLogSmall(log);
      return createLogger({ level: 'info', format: 'json', color: false, destination: log.fd });
    });
  } catch (error) {
    await tellParent({ is: 'failed', message: formatSslError(error) });
    throw error;
  }
}

type Tell = (news: StartNews) => void | Promise<void>;

async function runDaemon(
  call: DaemonCall,
  tell: Tell,
  loggerOf: (daemon: { stateDir: string; name: string }) => Logger,
): Promise<void> {
  const { idleRole, prepareDaemon } = await import('../ssl/daemon.js');
  const daemon = await prepareDaemon(call, process.env);
  if (daemon.is === 'running') {
    await tell(daemon);
    return;
  }
  const logger = loggerOf(daemon);
  const idleExitMs = call.idleMinutes === null ? undefined : call.idleMinutes * 60_000;
  const { runRole } = await import('./runRole.js');
  await runRole({ logger, idleExitMs }, async () => {
    try {
      const running =
        daemon.config === null ? idleRole(logger) : await startDaemon(daemon.config, logger);
      await tell({ is: 'ours', pid: process.pid });
      return running;
    } catch (error) {
      await tell({ is: 'failed', message: formatSslError(asError(error)) });
      throw error;
    }
  });
}

async function startDaemon(
  config: Parameters<typeof import('./pipeline.js').startPipeline>[0],
  logger: Logger,
): Promise<Running> {
  // Loaded only now: a transfer and a wrong call need no queue.
  const { startProducer } = await import('../producers/producer.js');
  const { startWorker } = await import('../workers/worker.js');
  const { startPipeline } = await import('./pipeline.js');
  return startPipeline(config, logger, [startProducer, startWorker], NO_PROGRESS);
}

function printPid(call: DaemonCall, news: StartNews): void {
  if (call.printPid && news.is !== 'failed') process.stdout.write(`${news.pid}\n`);
}

/** What a list of processes shows, and what scripts look for with pgrep. */
function titleOf(words: readonly string[]): string {
  return ['ferry-ssl', ...maskedWords(words)].join(' ');
}
