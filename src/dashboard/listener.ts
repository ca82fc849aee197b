import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { FerryError, systemCode } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import type { ListenAddress } from '../config/model.js';

/** A few people with a few tabs; what is more are not people. */
const CONNECTIONS_MAX = 256;
/** Headers and body of a request; a form of ours is there at once. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Between two tries at a port that is taken: as often as somebody reloads the page. */
const TRY_AGAIN_MS = 2_000;

/** The port of the dashboard. */
export class Listener {
  readonly #server: Server;
  #again: NodeJS.Timeout | undefined;
  #trouble: FerryError | null = null;
  #stopped = false;

  constructor(
    app: Pick<Parameters<typeof createAdaptorServer>[0], 'fetch'>,
    private readonly address: ListenAddress,
    private readonly log: Logger,
  ) {
    this.#server = createAdaptorServer({ fetch: app.fetch }) as Server;
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.requestTimeout = REQUEST_TIMEOUT_MS;
    this.#server.headersTimeout = REQUEST_TIMEOUT_MS;
    // Out of file descriptors, say: a visitor less is no reason to end a process that ships.
    this.#server.on('error', (err) => this.log.debug({ err }, 'the dashboard cannot accept'));
  }

  /** Why nobody can reach it now; null when it listens. */
  get trouble(): FerryError | null {
    return this.#trouble;
  }

  /** @throws FerryError DASHBOARD_LISTEN_FAILED (kind usage) */
  async listen(): Promise<void> {
    const { host, port } = this.address;
    await new Promise<void>((resolve, reject) => {
      const failed = (cause: Error) => reject(listenFailed(this.address, cause));
      this.#server.once('error', failed);
      this.#server.listen(port, host, () => {
        this.#server.off('error', failed);
        resolve();
      });
    });
    this.#trouble = null;
    const { port: bound } = this.#server.address() as AddressInfo;
    this.log.info({ host, port: bound }, 'dashboard listens');
  }

  /** Listens as soon as it can; until then it says so once, loudly. */
  async keepTrying(): Promise<void> {
    try {
      await this.listen();
      if (this.#stopped) this.#server.close();
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      if (this.#trouble === null) {
        this.log.error({ err: error }, 'no dashboard for now, shipping goes on; tried again');
      }
      this.#trouble = error;
      if (!this.#stopped) this.#again = setTimeout(() => void this.keepTrying(), TRY_AGAIN_MS);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#again);
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

function listenFailed({ host, port }: ListenAddress, cause: Error): FerryError {
  return new FerryError(
    'DASHBOARD_LISTEN_FAILED',
    `the dashboard cannot listen on ${host}:${port} (${systemCode(cause)})`,
    {
      kind: 'usage',
      hint: 'choose a free port in dashboard.listen, or one that this user may open',
      cause,
    },
  );
}
