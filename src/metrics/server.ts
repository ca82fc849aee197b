import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { FerryError, systemCode } from '../common/errors.js';
import type { ReadyCheck } from '../common/role.js';
import type { ListenAddress } from '../config/model.js';

export interface MetricsServerParts {
  registry: Registry;
  /** Everything that must be so for the process to do its work. */
  checks: () => Promise<readonly ReadyCheck[]>;
}

/** `/metrics`, `/healthz` and `/readyz`. It reads only, and shows nothing that is secret. */
export class MetricsServer {
  readonly #server: Server;

  private constructor(parts: MetricsServerParts) {
    this.#server = createServer((request, response) => {
      response.on('error', () => undefined); // whoever asked has left
      const path = request.url?.split('?')[0] ?? '';
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        send(response, 405, 'text/plain', 'only GET\n');
        return;
      }
      answer(path, response, parts).catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        send(response, 500, 'text/plain', `${why}\n`);
      });
    });
  }

  /** @throws FerryError METRICS_LISTEN_FAILED (kind usage) */
  static async start(listen: ListenAddress, parts: MetricsServerParts): Promise<MetricsServer> {
    const metrics = new MetricsServer(parts);
    await new Promise<void>((resolve, reject) => {
      // It stays: a connection that cannot be accepted later is no reason to end the process.
      metrics.#server.on('error', (cause) => reject(listenFailed(listen, cause)));
      metrics.#server.listen({ host: listen.host, port: listen.port }, resolve);
    });
    return metrics;
  }

  /** The real port when the configured one is 0. */
  get address(): ListenAddress {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

async function answer(
  path: string,
  response: ServerResponse,
  { registry, checks }: MetricsServerParts,
): Promise<void> {
  switch (path) {
    case '/metrics':
      return send(response, 200, registry.contentType, await registry.metrics());
    case '/healthz':
      return send(response, 200, 'text/plain', 'ok\n');
    case '/readyz': {
      const found = await checks();
      const ready = found.every(({ ok }) => ok);
      const body = JSON.stringify({ version: 1, ready, checks: found });
      return send(response, ready ? 200 : 503, 'application/json', `${body}\n`);
    }
    default:
      return send(response, 404, 'text/plain', 'here are /metrics, /healthz and /readyz\n');
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(body);
}

function listenFailed({ host, port }: ListenAddress, cause: Error): FerryError {
  return new FerryError(
    'METRICS_LISTEN_FAILED',
    `cannot listen for metrics on ${host}:${port} (${systemCode(cause)})`,
    {
      kind: 'usage',
      hint: 'two roles on one host need two ports, each in a file of its own: metrics: {listen: 127.0.0.1:9465}',
      cause,
    },
  );
}
