import { createConnection, type NetConnectOpts } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { asError, FerryError } from '../common/errors.js';
import { AbstractConnector, Redis, type RedisOptions } from './ioredis.js';

export interface ClusterNode {
  host: string;
  port: number;
}

export interface SlotConnectorOptions {
  /** Nodes to ask first; those that they name are asked later too, should these be gone. */
  seeds: readonly ClusterNode[];
  /** Any key of ours: all share one hash tag, and so one slot. */
  key: string;
  /** User, password and TLS of every node. */
  access: Pick<RedisOptions, 'username' | 'password' | 'tls'>;
}

/** A node that hangs must not keep us from asking the next. */
const ASK_TIMEOUT_MS = 2_000;
/** Between two rounds when no node knows the answer: an election takes about a second. */
const ROUND_PAUSE_MS = 300;

const CLOSED = 'Connection is closed.';

/**
 * How a connection finds its server in a cluster: the node that serves our slot, asked for anew at
 * every connect. So a connection is to one server, whose run id the scripts can trust. A cluster
 * client would follow a MOVED within one call, and an answer could come from another run than the
 * one it was asked of.
 *
 *     connect --ask nodes in turn--> owner of the slot --> stream to it
 *     MOVED, CLUSTERDOWN, broken   --> ioredis reconnects --> connect
 *
 * @returns a class for ioredis's option `Connector`, which each connection makes an object of
 */
export function slotConnector(
  options: SlotConnectorOptions,
): new (
  redis: unknown,
) => AbstractConnector {
  return class SlotConnector extends AbstractConnector {
    /** In the order of asking: who answered last is asked first. */
    #nodes: ClusterNode[] = [...options.seeds];
    #asking: Redis | null = null;
    #wake: (() => void) | null = null;

    constructor(_redis: unknown) {
      super(ASK_TIMEOUT_MS);
    }

    override async connect(
      emit: (type: string, error: Error) => void,
    ): Promise<typeof this.stream> {
      this.connecting = true;
      for (;;) {
        try {
          const owner = await this.#findOwner();
          const { tls } = options.access;
          this.stream =
            tls === undefined
              ? createConnection(owner satisfies NetConnectOpts)
              : connectTls({ ...owner, ...tls } satisfies ConnectionOptions);
          this.stream.once('error', (error: Error) => {
            this.firstError = error;
          });
          return this.stream;
        } catch (error) {
          if (!this.connecting) throw error;
          // Rejecting would end this connection for good.
          emit('error', asError(error));
          await this.#pause();
        }
      }
    }

    override disconnect(): void {
      super.disconnect();
      this.#asking?.disconnect();
      this.#wake?.();
    }

    async #findOwner(): Promise<ClusterNode> {
      let last: unknown = null;
      for (const node of this.#nodes) {
        if (!this.connecting) throw new Error(CLOSED);
        try {
          const { owner, nodes } = await this.#ask(node);
          if (!this.connecting) throw new Error(CLOSED);
          // Another first the next time: this one's view may be the stale one.
          this.#nodes = unique([...nodes.filter((other) => !same(other, node)), ...this.#nodes]);
          return owner;
        } catch (error) {
          last = error;
        }
      }
      throw last;
    }

    async #ask(node: ClusterNode): Promise<{ owner: ClusterNode; nodes: ClusterNode[] }> {
      const client = new Redis({
        ...options.access,
        ...node,
        retryStrategy: () => null,
        maxRetriesPerRequest: 0,
        enableReadyCheck: false,
        connectTimeout: ASK_TIMEOUT_MS,
        commandTimeout: ASK_TIMEOUT_MS,
        lazyConnect: true,
      });
      client.on('error', () => undefined); // `connect` rejects with it
      this.#asking = client;
      try {
        await client.connect();
        const [state, slot, ranges] = await Promise.all([
          client.cluster('INFO'),
          client.cluster('KEYSLOT', options.key),
          client.cluster('SLOTS'),
        ]);
        if (!/^cluster_state:ok\r?$/m.test(String(state))) throw clusterDown(node);
        const nodes: ClusterNode[] = [];
        let owner: ClusterNode | null = null;
        for (const [from, to, ...servers] of ranges) {
          const addresses = servers.map(([host, port]) => ({ host: nameOf(host, node), port }));
          nodes.push(...addresses);
          if (from <= slot && slot <= to) owner = addresses[0] ?? null;
        }
        if (owner === null) throw clusterDown(node);
        return { owner, nodes };
      } finally {
        this.#asking = null;
        client.disconnect();
      }
    }

    async #pause(): Promise<void> {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ROUND_PAUSE_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = null;
      if (!this.connecting) throw new Error(CLOSED);
    }
  };
}

/** A node that does not know its own name is where it was asked. */
function nameOf(host: string | null, asked: ClusterNode): string {
  return host === null || host === '' || host === '?' ? asked.host : host;
}

function same(a: ClusterNode, b: ClusterNode): boolean {
  return a.host === b.host && a.port === b.port;
}

function unique(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.filter((node, index) => nodes.findIndex((other) => same(other, node)) === index);
}

function clusterDown({ host, port }: ClusterNode): FerryError {
  return new FerryError('REDIS_CLUSTER_DOWN', `the cluster of ${host}:${port} does not serve`, {
    kind: 'redis',
    hint: 'see: redis-cli --cluster check; work resumes by itself when it serves all its slots again',
  });
}
